//! Tables that are altered, wanted anew, or not told apart any more.

use super::*;

#[test]
fn an_altered_table_is_told_and_shipped_no_longer() {
    let row = || insert(1, &[bin("1"), bin("y")]);
    let changed = relation(1, "public", "t", &[("a", 20, -1), ("b", 25, -1)]);
    let dropped = relation(1, "public", "t", &[("b", 25, -1), ("c", 25, -1)]);
    let renamed = relation(1, "public", "s", &[("a", 23, -1), ("b", 25, -1)]);
    let remade = relation(9, "public", "t", &[("a", 23, -1), ("b", 25, -1)]);
    for (description, words) in [
        (changed, "column a of public.t changed its type"),
        (dropped, "column a of public.t is gone"),
        (renamed, "renamed to public.s"),
        (remade, "dropped and made again"),
    ] {
        let mut c = collector(0, &["a"]);
        feed(&mut c, &[begin(20), t(), insert(1, &[bin("1"), NULL, NULL]), commit(20, 30)]);
        assert_eq!(said(&mut c), ["7+1", "commit 30 []"]);
        feed(&mut c, &[begin(40), description, row(), commit(40, 50)]);
        let said = said(&mut c);
        assert!(said[0].starts_with("altered 7: ") && said[0].contains(words), "{said:?}");
        assert_eq!(said[1..], ["progress 50"]);
    }
    // Columns that nobody wants may come and go.
    let mut c = collector(0, &["b"]);
    let wider = relation(1, "public", "t", &[("b", 25, -1), ("new", 16, -1)]);
    feed(&mut c, &[begin(20), t(), wider, insert(1, &[bin("y"), NULL]), commit(20, 30)]);
    assert_eq!(said(&mut c), ["7+y", "commit 30 []"]);
}

/// Old rows that do not have the identity would delete, or update, nothing. A table that a move is filling has no key yet.
#[test]
fn rows_that_the_replica_identity_does_not_tell_apart_are_told_and_not_shipped() {
    let narrow = || keyed_relation(1, "public", "t", &[("a", 23, -1), ("b", 25, -1)], 1);
    let identity = |at: usize| Subscription { identity: vec![at], ..wanted(7, &["a", "b"]) };
    let whole = Subscription { whole: true, ..wanted(7, &["a"]) };
    let delete = || delete(1, b'K', &[bin("1"), NULL]);
    for (wanted, fits) in [(identity(0), true), (identity(1), false), (whole, false)] {
        let mut c = Collector::new(NodeId(1), Lsn(0), vec![wanted], Arc::default());
        c.start(Lsn(0));
        feed(&mut c, &[begin(20), narrow(), insert(1, &[bin("1"), bin("y")]), commit(20, 30)]);
        assert!(said(&mut c)[0].starts_with("7+1"));
        for change in [delete(), update(1, None, &[bin("1"), bin("z")])] {
            feed(&mut c, &[begin(40), change, commit(40, 50)]);
        }
        let said = said(&mut c);
        assert_eq!(said[0].contains("REPLICA IDENTITY of public.t"), !fits, "{said:?}");
        assert_eq!(said.len() > 2, fits, "{said:?}");
    }
    // Of one that is about to be read, what came before is not complained of, and what comes behind that is, though the
    // table is described only once.
    let mut c = Collector::new(NodeId(1), Lsn(0), Vec::new(), Arc::default());
    c.start(Lsn(0));
    feed(&mut c, &[begin(20), narrow(), insert(1, &[bin("1"), bin("y")]), commit(20, 30)]);
    c.subscribe(Subscription { identity: vec![1], ..fresh(8, &["a", "b"], 45) });
    feed(&mut c, &[begin(40), delete(), insert(1, &[bin("2"), bin("y")]), commit(40, 44)]);
    feed(&mut c, &[begin(50), insert(1, &[bin("3"), bin("y")]), commit(50, 60)]);
    assert_eq!(said(&mut c), ["8+2,y", "commit 44 []", "8+3,y", "commit 60 []"]);
    feed(&mut c, &[begin(70), delete(), commit(70, 80)]);
    assert!(said(&mut c)[0].starts_with("altered 8: REPLICA IDENTITY"));
}

#[test]
fn each_table_of_a_name_is_shipped_for_whoever_wants_just_it() {
    let only = |id, relation| Subscription { relation, ..wanted(id, &["a"]) };
    let mut c = Collector::new(NodeId(1), Lsn(0), vec![only(7, 1)], Arc::default());
    c.start(Lsn(0));
    let remade = || relation(9, "public", "t", &[("a", 23, -1), ("b", 25, -1)]);
    let of = |lsn, table, description| {
        let row = insert(table, &[bin("1"), NULL]);
        vec![begin(lsn), description, row, commit(lsn, lsn + 10)]
    };
    c.subscribe(only(8, 9));
    feed(&mut c, &of(20, 1, t()));
    feed(&mut c, &of(40, 9, remade()));
    assert_eq!(said(&mut c), ["7+1", "commit 30 []", "8+1", "commit 50 []"]);
    // Nobody knows of a third: whoever wanted one of the others hears of it.
    feed(&mut c, &of(60, 10, relation(10, "public", "t", &[("a", 23, -1)])));
    let mut said = said(&mut c);
    said.sort();
    assert!(said[0].starts_with("altered 7: ") && said[1].starts_with("altered 8: "), "{said:?}");
    assert_eq!(said[2..], ["progress 70"]);
}

#[test]
fn a_changed_modifier_and_a_value_in_text_form_are_alterations() {
    let mut with_modifier = wanted(7, &["b"]);
    with_modifier.columns[0].typmod = Some(7);
    let mut c = Collector::new(NodeId(1), Lsn::ZERO, vec![with_modifier], Arc::default());
    feed(&mut c, &[begin(20), relation(1, "public", "t", &[("b", 25, 9)]), commit(20, 30)]);
    assert!(said(&mut c)[0].contains("length or precision"));
    let mut c = collector(0, &["a", "b"]);
    feed(&mut c, &[begin(20), t(), insert(1, &[bin("1"), V::Text, NULL]), commit(20, 30)]);
    let said = said(&mut c);
    assert!(said[0].contains("column b of public.t has a type without a binary form"), "{said:?}");
    assert_eq!(said[1..], ["progress 30"]);
}

#[test]
fn a_table_wanted_twice_is_shipped_for_both_and_subscriptions_come_and_go() {
    let mut c = collector(0, &["a"]);
    feed(&mut c, &[begin(20), t(), commit(20, 30)]);
    c.subscribe(wanted(8, &["b", "a"]));
    let one = |lsn| vec![begin(lsn), insert(1, &[bin("1"), bin("y"), NULL]), commit(lsn, lsn + 10)];
    feed(&mut c, &one(40));
    c.unsubscribe(&[TableId(7)]);
    feed(&mut c, &one(60));
    c.unsubscribe(&[TableId(8)]);
    feed(&mut c, &one(80));
    assert_eq!(said(&mut c), ["7+1 8+y,1", "commit 50 []", "8+y,1", "commit 70 []", "progress 90"]);
}

/// Asked for just now, when the node's WAL stood there.
fn fresh(id: u32, columns: &[&str], looked: u64) -> Subscription {
    Subscription { looked: Lsn(looked), fresh: true, found: 1, ..wanted(id, columns) }
}

/// A column that came since the table was last described: the description that has it comes before the next row.
#[test]
fn a_table_wanted_with_a_new_column_is_shipped_from_its_next_description_on() {
    let mut c = collector(0, &["a"]);
    feed(&mut c, &[begin(20), t(), commit(20, 30)]);
    c.subscribe(fresh(8, &["a", "new"], 35));
    // From before the column: in the snapshot.
    feed(&mut c, &[begin(40), insert(1, &[bin("1"), bin("y"), NULL]), commit(40, 50)]);
    let described = relation(1, "public", "t", &[("a", 23, -1), ("new", 25, -1)]);
    feed(&mut c, &[begin(60), described, insert(1, &[bin("2"), bin("n")]), commit(60, 70)]);
    assert_eq!(said(&mut c), ["7+1", "commit 50 []", "7+2 8+2,n", "commit 70 []"]);
}

/// Altered between the look at the table and the moment from which it is shipped: whether the description is known then or
/// comes later.
#[test]
fn a_table_altered_since_it_was_looked_for_is_told_and_not_shipped() {
    let row = || insert(1, &[bin("1"), bin("y")]);
    let narrower = || relation(1, "public", "t", &[("a", 23, -1), ("c", 25, -1)]);
    let renamed = || relation(1, "public", "s", &[("a", 23, -1), ("b", 25, -1)]);
    for (description, words) in
        [(narrower(), "column b of public.t is gone"), (renamed(), "public.t was renamed to public.s")]
    {
        for late in [false, true] {
            let mut c = Collector::new(NodeId(1), Lsn(0), Vec::new(), Arc::default());
            c.start(Lsn(0));
            let altered = vec![begin(45), description.clone(), row(), commit(45, 50)];
            if late {
                c.subscribe(fresh(8, &["a", "b"], 35));
                feed(&mut c, &altered);
            } else {
                feed(&mut c, &altered);
                c.subscribe(fresh(8, &["a", "b"], 35));
            }
            let first = said(&mut c);
            assert!(first.iter().any(|s| s.starts_with("altered 8: ") && s.contains(words)), "{late}: {first:?}");
            feed(&mut c, &[begin(65), row(), commit(65, 70)]);
            assert_eq!(said(&mut c), ["progress 70"]);
        }
    }
    // An old description, of a name that it had before, says nothing of a table found later.
    let mut c = Collector::new(NodeId(1), Lsn(0), Vec::new(), Arc::default());
    c.start(Lsn(0));
    c.subscribe(fresh(8, &["a", "b"], 35));
    feed(&mut c, &[begin(25), renamed(), row(), commit(25, 30)]);
    feed(&mut c, &[begin(45), t(), insert(1, &[bin("1"), bin("y"), NULL]), commit(45, 50)]);
    assert_eq!(said(&mut c), ["8+1,y", "commit 50 []"]);
}

#[test]
fn a_shard_that_is_shipped_does_not_sleep_again_when_its_move_is_announced_late() {
    let mut c = collector(0, &["a"]);
    let shard = |dormant, found| Subscription { shard: 102, dormant, found, ..wanted(7, &["a"]) };
    let one = |lsn| vec![begin(lsn), insert(1, &[bin("1"), bin("y"), NULL]), commit(lsn, lsn + 10)];
    c.subscribe(shard(false, 16));
    feed(&mut c, &[begin(20), t(), commit(20, 30)]);
    c.subscribe(shard(true, 16));
    feed(&mut c, &one(40));
    // Another table, made by a move back: its copies are not wanted.
    c.subscribe(shard(true, 17));
    feed(&mut c, &one(60));
    assert_eq!(said(&mut c), ["7+1", "commit 50 []", "progress 70"]);
}
