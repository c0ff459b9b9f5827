"""TensorBoard's event files: one writer each, the files of a folder being one run.

The file (`tfrecords`)
    Records, one after the other, little-endian:

        length u64 | masked CRC-32C u32 of the length | payload | masked CRC-32C u32 of the payload

    A checksum is masked as `rotate_right(crc, 15) + 0xA282EAD8`. The payload is an `Event`
    (`kelt_proto/tensorboard/event.proto`); the first has the version, `brain.Event:2`.

What comes of it (`event_records`)
    One kelt record for one event, behind RunOpened: a row where it has scalars, texts or histograms
    (as W&B's client has them, `histograms`), a Config where it has hyper-parameters, else one that
    says nothing and keeps the number. Events of one step that follow each other are one row, in the
    place of the last of them. Scalars are those of `simple_value` and those of tensors of the
    plugin `scalars`, with the precision with which they were written. A tag that is logged at step
    0 again and again, as by writers that were told no step, is counted.

    A later file of the same folder goes on: another session of the same branch, whose rows all
    stay. Where it begins by voiding what came from a step on (`purge_step`), the run is rewound.

Recovery
    A torn tail is not translated; once the file has grown, the same records come and more. A record
    whose payload is damaged is a Loss in its place. Behind a damaged length the next record is
    looked for; what was between is one Loss.
"""
