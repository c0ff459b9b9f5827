"""W&B's public Python API, answered by kelt: what `import wandb` gives under `kelt run`.

`on_path/` holds a package `wandb` and the metadata of its distribution. In front of everything on
PYTHONPATH, as `placing` puts it, it is found by every Python that inherits the environment: by
`import wandb`, `find_spec("wandb")` and `importlib.metadata.version("wandb")`, whether or not the
real package is installed, and by child processes however they are started. Nothing runs when an
interpreter starts, so a process that never imports wandb is as it was. (A sitecustomize module
there can be only one of, and a `.pth` file needs write access to the installation.) Beyond its
reach are interpreters started with `-I` or `-E`, and launchers that clear the environment.

`names` says which name of which module is answered by what. A name that kelt lacks can be
imported, subclassed and asked about, and says what is missing when it is called (`missing`). What
a script logs that kelt does not carry, such as an image, is left out with one warning and the rest
of the row kept (`carrying`), because a training must not die of it.
"""
