"""What is read of W&B's own records, so that their files can be taken over.

Written from the field numbers in the descriptors that the wandb package ships (0.16 to 0.31 agree
on them); it names only what kelt carries, and what it must be able to count.
"""
