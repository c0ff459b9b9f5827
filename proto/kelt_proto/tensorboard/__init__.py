"""What is read of TensorBoard's event files, so that they can be taken over.

Written from the field numbers in the descriptors that the tensorboard package ships (2.21), which
have not changed since TensorFlow 1; it names only what kelt carries, and what it must be able to
count.
"""
