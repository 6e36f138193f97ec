//! Random bytes, and random messages damaged in random places, never panic; what is read is what was written.
#![allow(clippy::unwrap_used, reason = "a test")]

mod wire;

use pgoutput::{Column, Decoder, Message};
use proptest::prelude::*;
use wire::{Value, Wire, block, unstreamed, values};

/// Walks everything a message lends out.
fn walk(message: &Message<'_>) -> usize {
    match message {
        Message::Insert(m) => m.new.columns().count(),
        Message::Update(m) => m.new.columns().count() + m.old.map_or(0, |old| old.tuple().columns().count()),
        Message::Delete(m) => m.old.tuple().columns().count(),
        Message::Truncate(m) => m.relations().count(),
        Message::Relation(m) => m.columns().count(),
        _ => 0,
    }
}

fn tag() -> impl Strategy<Value = u8> {
    prop::sample::select(b"BCORYIUDTMbPKrSEcAp".to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn random_bytes_never_panic(tag in tag(), bytes in prop::collection::vec(any::<u8>(), 0..80), streamed: bool) {
        let mut decoder = Decoder::new();
        if streamed {
            decoder.decode(b"S\0\0\0\x01\x01").unwrap();
        }
        let mut message = vec![tag];
        message.extend(&bytes);
        for message in [&message, &bytes] {
            if let Ok(decoded) = decoder.decode(message) {
                walk(&decoded.message);
            }
        }
    }

    #[test]
    fn damaged_messages_never_panic(message in unstreamed(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut damaged = message.clone();
        damaged[at.index(message.len())] = byte;
        damaged.truncate(cut.index(message.len()) + 1);
        if let Ok(message) = Message::decode(&damaged) {
            walk(&message);
        }
    }

    #[test]
    fn no_message_is_whole_before_its_last_byte(message in unstreamed(), cut: prop::sample::Index) {
        let short = cut.index(message.len());
        // A streamed rollback is whole without its position and time (protocol 2 and 3).
        prop_assume!(!(message[0] == b'A' && short == 9));
        prop_assert!(Message::decode(&message).is_ok());
        prop_assert!(Message::decode(&message[..short]).is_err());
    }

    #[test]
    fn a_row_gives_back_its_columns(row in values()) {
        let bytes = Wire::of(b'I').u32(1).u8(b'N').tuple(&row).0;
        let Message::Insert(insert) = Message::decode(&bytes).unwrap() else { panic!() };
        let columns: Vec<_> = insert.new.columns().map(|column| match column {
            Column::Null => Value::Null,
            Column::Unchanged => Value::Unchanged,
            Column::Text(v) => Value::Text(v.to_vec()),
            Column::Binary(v) => Value::Binary(v.to_vec()),
        }).collect();
        prop_assert_eq!(columns, row);
    }

    #[test]
    fn a_streamed_block_is_read_and_left(block in block(), after in unstreamed()) {
        let mut decoder = Decoder::new();
        let last = block.len() - 1;
        for (i, message) in block.iter().enumerate() {
            prop_assert_eq!(decoder.decode(message).unwrap().xid.is_some(), i != 0 && i != last);
        }
        prop_assert_eq!(decoder.decode(&after).unwrap().xid, None);
    }
}
