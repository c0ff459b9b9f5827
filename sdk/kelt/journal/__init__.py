"""The files of a run folder: what the trainer writes, what the daemon keeps, how both are read.

Constraints
    The trainer's side (`spool`) must cost microseconds, never wait for a disk or a lock held
    across I/O, and lose nothing when the process is killed at any instruction. The daemon's
    side (entries in segments) must survive power loss once synced. Both must be readable after
    any damage, at the price of the damaged range alone. Nothing here imports more than the
    standard library and `kelt_proto.v1.frames`/`rows`, because it is loaded by training.

Spool segment, `spool-NNNNNN.kelt` (little-endian)
    Memory-mapped, allocated and prefaulted before use: a sparse map on a full disk raises SIGBUS.

        0    magic "KELTSPL1"
        8    header length u32 (256) | CRC-32 of bytes 16..40 u32
        16   writer id, 16 bytes
        32   segment number u64, from 1
        40   first sequence number u64: 0 while the segment is only prepared
        48   last sequence number of the segment before u64
        128  beat u64: counts up while the process's background thread lives
        136  highest step i64 on the current branch, -1 before the first row
        144  rows u64 that found no room, ever
        152  of them those that a LOSS record tells of, u64: the others are told of by the daemon
             when the process is dead
        256  frames (`kelt_proto.v1.frames`), then zeros

    A segment ends at its first zero word; whether more follows is told by the next segment's
    first sequence number. Frames that the background thread has passed are sealed (checksummed).

Journal segment, `journal-NNNNNN.kelt`
    Preallocated, appended with ordinary writes and synced by group. A new segment is always
    opened after a start, so that nothing is ever written behind a torn tail. The header is synced
    before the first entry is written. An open segment's length is a multiple of 4096, a closed
    one's is not: in a closed one whatever cannot be read at the end is damage.

        0    magic "KELTJRN1"
        8    header length u32 (64) | CRC-32 of bytes 16..64 u32
        16   journal id, 16 random bytes made with the journal's first segment
        32   segment number u64, from 1
        40   entries in the segment before u64
        48   CRC-32 of the last entry of the segment before u32 | zeros
        64   entries, then zeros

    An entry is one batch of one writer, unopened:

        payload length u32 | CRC-32 u32 | writer id 16 bytes | first seq u64 | last seq u64
        mark u16 | zeros; then the payload, padded to eight bytes

    The CRC covers header and payload and is seeded with journal id and segment number, so that
    an old block of the disk is not taken for an entry of ours. A zero length ends the segment.

Recovery
    Torn tail: reading stops at the last whole record. Damage in the middle: reading goes on at
    the next record whose checksum holds; the sequence numbers between are reported as a gap,
    which its reader turns into a loss marker. No file is deleted or rewritten on account of it.
"""
