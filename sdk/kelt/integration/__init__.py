"""Callbacks for the frameworks that run the training loop themselves.

Each module imports its framework, and nothing else in kelt imports these modules. All of them log
rows under the training's own step, which is what a checkpoint is of: it carries the point of the
run at which it was saved (`checkpoints`), and a training that goes on from it goes on in the same
run, rewound to that point. What had come after is archived and can be read.
"""
