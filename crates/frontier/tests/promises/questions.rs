//! What the nodes are asked for, and what their answers settle.

use types::{Gid, Lsn, NodeId};

use crate::{Cluster, G1, G2};

#[test]
fn a_listed_branch_from_before_its_slot_is_settled_by_its_node() {
    let mut c = Cluster::of(2, false);
    c.list(0, 150, &[(1, G1)]);
    assert_eq!(c.cut(), None);
    let ask = c.asks().into_iter().find(|ask| ask.node == NodeId(1)).unwrap();
    assert_eq!(ask.gids, [Gid::from(G1)]);
    c.answer(&ask, 180, &[false]);
    c.progress(1, 179);
    assert_eq!(c.cut(), Some(vec![100, 179]));
    c.progress(1, 180);
    assert_eq!(c.cut(), Some(vec![150, 180]));
}

#[test]
fn a_listed_branch_that_is_still_prepared_is_waited_for() {
    let mut c = Cluster::of(2, false);
    c.list(0, 150, &[(1, G1)]);
    let ask = c.asks().into_iter().find(|ask| ask.node == NodeId(1)).unwrap();
    c.answer(&ask, 180, &[true]);
    c.progress(1, 300);
    assert_eq!(c.cut(), Some(vec![100, 300]));
    c.commit(1, 310, G1);
    assert_eq!(c.cut(), Some(vec![150, 310]));
}

#[test]
fn a_listed_branch_that_wrote_nothing_is_settled_when_it_is_decided() {
    let mut c = Cluster::of(3, false).settled(100);
    c.prepare(1, 101, 105, G1);
    c.list(0, 150, &[(1, G1), (2, G2)]);
    c.commit(1, 110, G1);
    let ask = c.asks().remove(0);
    assert_eq!((ask.node, &ask.gids[..]), (NodeId(2), &[Gid::from(G2)][..]));
    c.answer(&ask, 100, &[true]);
    assert_eq!(c.cut(), Some(vec![100, 105, 100]));
    let ask = c.asks().remove(0);
    c.answer(&ask, 100, &[false]);
    assert_eq!(c.cut(), Some(vec![150, 110, 100]));
}

#[test]
fn a_branch_that_stays_prepared_and_silent_is_asked_for_seldom() {
    let mut c = Cluster::of(2, false).settled(100);
    c.list(0, 150, &[(1, G1)]);
    let mut questions = 0;
    for _ in 0..1000 {
        c.cut();
        for ask in c.asks() {
            questions += 1;
            c.answer(&ask, 100, &[true]);
        }
    }
    assert!((10..30).contains(&questions), "{questions}");
    let ask = (0..200).find_map(|_| {
        c.cut();
        c.asks().pop()
    });
    c.answer(&ask.unwrap(), 100, &[false]);
    assert_eq!(c.cut(), Some(vec![150, 100]));
}

#[test]
fn a_listed_branch_rolled_back_by_hand_is_not_waited_for() {
    let mut c = Cluster::of(2, false).settled(100);
    c.prepare(1, 101, 105, G1);
    c.list(0, 150, &[(1, G1)]);
    c.rollback(1, 120, G1);
    assert_eq!(c.cut(), Some(vec![100, 120]));
    let ask = c.asks().remove(0);
    c.answer(&ask, 120, &[false]);
    assert_eq!(c.cut(), Some(vec![150, 120]));
}

#[test]
fn another_managers_branches_are_found_by_asking_every_node() {
    let mut c = Cluster::of(3, true).settled(100);
    c.prepare(0, 101, 105, "app_7_a");
    c.commit(0, 110, "app_7_a");
    c.progress(1, 104);
    assert_eq!(c.cut(), Some(vec![105, 104, 100]));
    let asks = c.asks();
    assert_eq!(asks.len(), 3);
    for ask in &asks {
        c.answer(ask, 110, &[]);
    }
    c.progress(1, 110);
    c.prepare(2, 101, 107, "app_7_b");
    c.prepare(2, 108, 120, "app_8_a");
    assert_eq!(c.cut(), Some(vec![105, 110, 120]));
    c.commit(2, 130, "app_7_b");
    assert_eq!(c.cut(), None);
    for ask in c.asks() {
        c.answer(&ask, 130, &[]);
    }
    (0..3).for_each(|node| c.progress(node, 140));
    assert_eq!(c.cut(), Some(vec![140, 140, 140]), "app_8 is undecided and holds nothing");
    assert_eq!(c.safe(2), 108);
}

#[test]
fn nobody_is_asked_while_all_goes_its_way() {
    let mut c = Cluster::of(3, false).settled(100);
    let mut end = 110;
    for n in 0..5000 {
        let (a, b) = (format!("citus_0_77_{n}_1"), format!("citus_0_77_{n}_2"));
        c.prepare(1, end, end + 1, &a);
        c.prepare(2, end, end + 1, &b);
        c.commit(1, end + 2, &a);
        c.list(0, end + 2, &[(1, &a), (2, &b)]);
        assert!(c.asks().is_empty(), "transaction {n}");
        c.commit(2, end + 3, &b);
        assert_eq!(c.cut(), Some(vec![end + 2, end + 2, end + 3]));
        end += 10;
    }
}

#[test]
fn what_never_comes_is_asked_for_in_the_end() {
    // Prepared by hand under a name of Citus's: nobody will ever list it.
    let mut c = Cluster::of(2, false).settled(100);
    c.prepare(1, 101, 105, G1);
    c.commit(1, 110, G1);
    let looks = (0..10_000).take_while(|_| {
        c.cut();
        let asks = c.asks();
        for ask in &asks {
            c.answer(ask, 110, &[]);
        }
        asks.is_empty()
    });
    assert!(looks.count() < 9_999);
    c.progress(0, 110);
    assert_eq!(c.cut(), Some(vec![110, 110]));
}

#[test]
fn a_question_that_failed_is_put_again_with_what_came_up() {
    let mut c = Cluster::of(2, false).settled(100);
    let (ask, other) = ("citus_0_7_1_1", "citus_0_7_2_1");
    c.frontier.add_node(NodeId(1), Lsn(100));
    c.progress(1, 100);
    c.list(0, 110, &[(1, ask)]);
    let first = c.asks();
    assert!(first.iter().any(|a| a.node == NodeId(1) && a.gids == [Gid::from(ask)]));
    c.list(0, 120, &[(1, other)]);
    assert!(c.asks().is_empty(), "one question to a node at a time");
    let first = first.into_iter().find(|a| a.node == NodeId(1)).unwrap();
    c.frontier.ask_failed(first.id, first.node);
    let second = c.asks();
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].gids.len(), 2);
    c.answer(&first, 130, &[false]);
    c.progress(1, 200);
    assert_eq!(c.cut(), Some(vec![100, 200]), "an answer to the failed question does not count");
    c.answer(&second[0], 130, &[false, false]);
    assert_eq!(c.cut(), Some(vec![120, 200]));
}

#[test]
fn a_new_node_is_asked_only_when_its_slot_exists() {
    let mut c = Cluster::at(&[100, 0], false);
    c.list(0, 150, &[(1, G1)]);
    assert!(c.asks().iter().all(|ask| ask.node == NodeId(0)));
    assert_eq!(c.cut(), None);
    c.progress(1, 40);
    let ask = c.asks().into_iter().find(|ask| ask.node == NodeId(1)).unwrap();
    c.answer(&ask, 45, &[false]);
    c.progress(1, 45);
    assert_eq!(c.cut(), Some(vec![150, 45]));
}
