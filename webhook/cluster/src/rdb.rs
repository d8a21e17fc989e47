//! Whether a snapshot holds keys: a server that never held anything writes one, too.

/// How much of a file's beginning has to be read; the fields before the first key are shorter.
pub const HEAD: usize = 64 << 10;

/// Whether the snapshot that begins with these bytes may hold keys. False only if it is certain
/// that it does not: no bytes, or nothing but auxiliary fields up to the end marker.
pub fn may_hold_keys(head: &[u8]) -> bool {
    if head.is_empty() {
        return false;
    }
    let magic = head.get(..9).unwrap_or_default();
    if !(magic.starts_with(b"REDIS") || magic.starts_with(b"VALKEY")) {
        return true;
    }
    let mut rest = &head[9..];
    loop {
        match rest.split_first() {
            // RDB_OPCODE_AUX: a name and a value.
            Some((0xfa, fields)) => match string(fields).and_then(string) {
                Some(after) => rest = after,
                None => return true,
            },
            // RDB_OPCODE_EOF.
            Some((0xff, _)) => return false,
            _ => return true,
        }
    }
}

/// Skips a string: a length and as many bytes, or an integer in 1, 2 or 4 bytes (`rdb.h`).
fn string(bytes: &[u8]) -> Option<&[u8]> {
    let (first, rest) = bytes.split_first()?;
    let low = usize::from(first & 0x3f);
    match first >> 6 {
        0 => rest.get(low..),
        1 => {
            let (next, rest) = rest.split_first()?;
            rest.get((low << 8 | usize::from(*next))..)
        }
        3 if low <= 2 => rest.get(1 << low..),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_snapshot_without_keys_is_empty() {
        let head = b"REDIS0010\xfa\x09redis-ver\x067.0.15\xfa\x0aredis-bits\xc0\x40";
        let with = |tail: &[u8]| [head.as_slice(), tail].concat();
        assert!(!may_hold_keys(b""));
        assert!(!may_hold_keys(&with(b"\xff12345678")));
        assert!(may_hold_keys(&with(b"\xfe\x00\xfb")));
        assert!(may_hold_keys(&with(b"")));
        assert!(may_hold_keys(b"garbage"));
    }
}
