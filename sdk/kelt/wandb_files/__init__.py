"""Taking over what W&B wrote: `.wandb` files become ordinary kelt run folders.

Constraints
    The file is W&B's: it is read, and nothing in its folder is ever changed. It may be of any
    version from 0.16 on, still be written, end in the middle of a record because its process was
    killed, or be damaged; whatever of it is whole is carried, and what is not is told. Memory is
    bounded by one block, one record and one spool segment.

The file (`log_blocks`)
    7 bytes of header: ":W&B", 0xBEE1 u16, version 0 u8 (all little-endian). Then blocks of 32 KiB,
    counted from the file's start, header included. A block holds chunks:

        CRC-32 u32 of kind and payload | length u16 | kind u8 (1 full, 2 first, 3 middle, 4 last)

    A record is one full chunk, or a first, middles and a last one. Less than 7 bytes at a block's
    end are zeros. A record is a protobuf message (`kelt_proto/wandb/wandb_record.proto`).

What comes of it (`translation`)
    One kelt record for one W&B record, so that the same file always gives the same records with the
    same numbers, wherever and however often it is read: a server that knows a writer's numbers
    takes none twice. The writer's id is a digest of the file's first `run` record, the branch's id
    one of that. That record gives two, RunOpened, with the process that the record behind it names,
    and Config; what was before it gives none; every later one takes the number that follows from
    W&B's own count (`numbering`). A record of a kind that kelt does not carry becomes an empty
    Config record, of which the spool keeps the number alone, with the record behind it
    (`kelt_proto.v1.frames`): newer versions write two before each row. One that kelt cannot hold is
    a LOSS record in its place.

Recovery
    A torn tail is not translated, and nothing depends on it: once the file has grown, all of it is
    translated anew, to the same records and more. Damage inside is known when a whole record
    follows, whose count tells how many are missing: they become empty records and a LOSS record.
    Should an intact copy be synced afterwards, its numbers are the same: nothing comes twice, and
    what was lost stays lost. Damage at the end has no number, and is told by a witness (below).

    A run that has no `exit` record, and whose file nobody holds open, ended without a word. That,
    too, is said by a witness: a writer of one batch, as the daemon of the run's own host would be.
    Its word has no place in the run's own numbers, because the file may have been a copy of one
    that still grew; a goodbye that comes later wins.

Runs
    Forks and rewinds name their parent, and nothing waits for it. A run that may go on another one
    (`resume=` from 0.31 on, or an online run that did) is a continuation of whatever its name
    points at; if its first step is 0 its steps count from that end, as `wandb sync` would have it.
    Up to 0.28 an offline run that was resumed does not say so: each file is then a branch of its
    own, and the one that started last holds the name; the others are listed as archived.

    What was written to the console becomes the lines that stand there in the end
    (`console_output`); system samples are taken as they are. The files beside the `.wandb` file are
    carried by writers of their own (`kelt.import_files`), in segments behind that of the witness.
    Artifacts go beside the records, as those of kelt's own runs do, while W&B's copies of their
    files are there (`artifacts`).

    The history's last values, and what `define_metric` asks for, kelt finds itself. Of the summary
    only what does not follow from that is carried, as set by hand (`summary_changes`).
"""
