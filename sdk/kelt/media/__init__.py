"""Tables, pictures, sounds and the like: what `artifact.add(obj, name)` takes and `get` gives back.

Constraints:

* What kelt writes is what W&B's client (0.31) writes of the same object, byte for byte, so that the
  same script comes to the same version whichever client it runs with, and each reads the other's.
* Making an object does not fail for its data, nor for a library that is not there: scripts also
  make objects that are left out of a row. What is wrong is said by `artifact.add`.
* What an object was made of may change afterwards: arrays and pictures are copied, figures are
  drawn at once. A file that is named is read when it is added.

Format, in an artifact: a document `<name>.<kind>.json` (keys in order, `_type` says the kind), and
beside it the files that it names by `path`, under `media/<folder>/`:

    t.table.json                          {"_type": "table", "columns", "data", "column_types", …}
    picture.image-file.json               {"_type": "image-file", "path", "sha256", "format", …}
    media/images/<SHA-256, 20>/a.png      of a file that was named
    media/images/<MD5, 20>.png            of what was made of data
    media/classes/<MD5>_cls.classes.json  names of classes, of pictures that have them
    media/serialized_data/<MD5, 20>.npz   a column of arrays

The cells of a table that are media stand in `data` as such documents. `column_types` is what
`cell_types` finds.
"""
