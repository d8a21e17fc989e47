//! Replies of a server, whole and in pieces.
#![no_main]

use cluster::resp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some((reply, used))) = resp::decode(bytes) else { return };
    assert!(used > 0 && used <= bytes.len());
    // What is behind a reply does not change it, and a part of it is not taken for all.
    assert_eq!(resp::decode(&bytes[..used]), Ok(Some((reply, used))));
    for end in (0..used).step_by(used / 16 + 1) {
        assert!(!matches!(resp::decode(&bytes[..end]), Ok(Some(_))), "{end} of {used}");
    }
});
