//! Any bytes, cut into messages, go through one pgoutput decoder: it must not panic, whatever it says of them, and
//! what a message lends out must be all there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgoutput::{Decoder, Message};

fuzz_target!(|data: &[u8]| {
    let mut decoder = Decoder::new();
    let mut rest = data;
    // Each message is a length (two bytes, so that a fuzzer finds its way) and its bytes.
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(behind.len());
        let (message, after) = behind.split_at(length);
        rest = after;
        let Ok(decoded) = decoder.decode(message) else { continue };
        match decoded.message {
            Message::Insert(m) => assert_eq!(m.new.columns().count(), m.new.len()),
            Message::Update(m) => {
                assert_eq!(m.new.columns().count(), m.new.len());
                if let Some(old) = m.old {
                    assert_eq!(old.tuple().columns().count(), old.tuple().len());
                }
            }
            Message::Delete(m) => assert_eq!(m.old.tuple().columns().count(), m.old.tuple().len()),
            Message::Relation(m) => assert_eq!(m.columns().count(), m.column_count()),
            Message::Truncate(m) => assert!(m.relations().count() * 4 <= message.len()),
            _ => {}
        }
    }
});
