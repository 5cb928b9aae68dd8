//! Lists of XComs, and of variables, connections and pools.

use model::MapIndex;
use store::{
    ConnectionOrder, Direction, Page, PoolOrder, Span, Store, TextFilter, VariableOrder, Write, XCom, XComFilter,
    XComOrder,
};

use crate::fixtures::*;

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn pattern(pattern: &str) -> TextFilter {
    TextFilter { pattern: text(pattern), prefix: None }
}

fn prefix(prefix: &str) -> TextFilter {
    TextFilter { pattern: None, prefix: text(prefix) }
}

fn fill(store: &dyn Store) {
    let first = dated_run("alpha", "r1", 100);
    let second = model::DagRun { run_after: at(50), ..run("beta", "manual__2") };
    let a = XCom { at: at(9), ..xcom(&first.key, "t_1", "a") };
    let mut b = XCom { at: at(7), ..xcom(&first.key, "t_1", "b") };
    b.key.map_index = MapIndex(2);
    let c = XCom { at: at(8), ..xcom(&second.key, "Other", "c") };
    let d = XCom { at: at(6), ..xcom(&second.key, "Other", "d") };
    store.commit(vec![imported("alpha.py", vec![dag("alpha", 1, "h")]), put_run(&first), put_run(&second)]).unwrap();
    store.commit([d, b, c, a].iter().map(put_xcom).collect()).unwrap();
}

/// Items of a sequence are found alone, and slices of it without the rest.
pub fn parts_of_sequences(store: &dyn Store) {
    let first = dated_run("alpha", "r1", 100);
    store.commit(vec![imported("alpha.py", vec![dag("alpha", 1, "h")]), put_run(&first)]).unwrap();
    let entry = |index: i32, key: &str| {
        let mut entry = xcom(&first.key, "t", key);
        entry.key.map_index = MapIndex(index);
        put_xcom(&entry)
    };
    // There are gaps, other keys between them, and they come in no order.
    store.commit([7, 0, 3, 12, 5].map(|index| entry(index, "k")).to_vec()).unwrap();
    store.commit([0, 1, 4].map(|index| entry(index, "other")).to_vec()).unwrap();
    let some = |offset, limit| -> Vec<i32> {
        let found = store.some_xcoms(&first.key, &"t".into(), "k", offset, limit).unwrap();
        found.iter().map(|found| found.key.map_index.0).collect()
    };
    for (offset, limit, expected) in [
        (0, 10, &[0, 3, 5, 7, 12][..]),
        (1, 2, &[3, 5]),
        (4, 1, &[12]),
        (3, u64::MAX, &[7, 12]),
        (5, 1, &[]),
        (u64::MAX, u64::MAX, &[]),
        (0, 0, &[]),
    ] {
        assert_eq!(some(offset, limit), expected, "{limit} from {offset}");
    }
    let at = |offset| store.xcom_at(&first.key, &"t".into(), "k", offset).unwrap().map(|found| found.key.map_index.0);
    assert_eq!([0, 2, 4, 5, -1, -5, -6].map(at), [Some(0), Some(5), Some(12), None, Some(12), Some(0), None]);
}

fn keys(store: &dyn Store, filter: &XComFilter, order: &[(XComOrder, Direction)], page: Page) -> (String, u64) {
    let (found, total) = store.list_xcoms(filter, order, page).unwrap();
    (found.iter().map(|found| &*found.key.key).collect(), total)
}

pub fn filters_of_xcoms(store: &dyn Store) {
    fill(store);
    let f = XComFilter::default;
    let span = |from, to| Span { from: Some(at(from)), to: Some(at(to)), or_missing: false };
    let table = [
        (f(), "abcd"),
        (XComFilter { dag_id: Some("alpha".into()), ..f() }, "ab"),
        (XComFilter { dag_id: Some("none".into()), ..f() }, ""),
        (XComFilter { run_id: Some("manual__2".into()), ..f() }, "cd"),
        (XComFilter { task_id: Some("t_1".into()), ..f() }, "ab"),
        (XComFilter { map_index: Some(2), ..f() }, "b"),
        (XComFilter { map_index: Some(-1), ..f() }, "acd"),
        (XComFilter { map_index: Some(i64::MAX), ..f() }, ""),
        (XComFilter { key: text("a"), ..f() }, "a"),
        (XComFilter { keys: pattern("A|d"), ..f() }, "ad"),
        (XComFilter { keys: prefix("b|c"), ..f() }, "bc"),
        (XComFilter { dag_display_names: pattern("the alpha"), ..f() }, "ab"),
        (XComFilter { dag_display_names: prefix("The"), ..f() }, "ab"),
        (XComFilter { run_ids: pattern("ANU"), ..f() }, "cd"),
        (XComFilter { run_ids: prefix("r"), ..f() }, "ab"),
        (XComFilter { task_ids: pattern(r"t\_"), ..f() }, "ab"),
        (XComFilter { task_ids: prefix("Oth"), ..f() }, "cd"),
        (XComFilter { logical_date: span(100, 100), ..f() }, "ab"),
        (XComFilter { run_after: span(40, 60), ..f() }, "cd"),
    ];
    for (filter, expected) in table {
        assert_eq!(keys(store, &filter, &[], Page::ALL), (expected.to_owned(), expected.len() as u64), "{filter:?}");
    }
    let (found, _) = store.list_xcoms(&XComFilter { key: text("b"), ..f() }, &[], Page::ALL).unwrap();
    assert_eq!((found[0].at, found[0].logical_date, found[0].run_after), (at(7), some(100), at(160)));
}

pub fn orders_of_xcoms(store: &dyn Store) {
    fill(store);
    let table = [
        (XComOrder::Key, "abcd"),
        (XComOrder::DagId, "abcd"),
        (XComOrder::RunId, "cdab"),
        (XComOrder::TaskId, "cdab"),
        (XComOrder::MapIndex, "acdb"),
        (XComOrder::At, "dbca"),
        (XComOrder::RunAfter, "cdab"),
    ];
    for (key, expected) in table {
        let found = keys(store, &XComFilter::default(), &[(key, Direction::Ascending)], Page::ALL);
        assert_eq!(found, (expected.to_owned(), 4), "{key:?}");
        let turned: String = expected.chars().rev().collect();
        let found = keys(store, &XComFilter::default(), &[(key, Direction::Descending)], Page::ALL);
        assert_eq!(found, (turned, 4), "{key:?}, turned round");
    }
    // As the API asks for them.
    let default = [XComOrder::DagId, XComOrder::TaskId, XComOrder::RunId, XComOrder::MapIndex, XComOrder::Key];
    let default = default.map(|key| (key, Direction::Ascending));
    assert_eq!(keys(store, &XComFilter::default(), &default, Page { limit: 2, offset: 1 }), ("bc".into(), 4));
}

pub fn lists_of_settings(store: &dyn Store) {
    let with_port = |id: &str, port| store::Connection { port, conn_type: format!("t{id}"), ..connection(id) };
    let mut batch = vec![Write::DeletePool("default_pool".into())];
    for name in ["b_1", "Ab", "c%"] {
        batch.push(Write::NewVariable(variable(name, &name.to_uppercase())));
        batch.push(Write::NewPool(pool(name)));
    }
    batch.push(Write::Variable(store::Variable { description: None, ..variable("Ab", "0") }));
    batch.push(Write::NewConnection(Box::new(with_port("b_1", Some(1)))));
    batch.push(Write::NewConnection(Box::new(store::Connection { host: None, ..with_port("Ab", None) })));
    batch.push(Write::NewConnection(Box::new(store::Connection { description: None, ..with_port("c%", Some(-1)) })));
    store.commit(batch).unwrap();

    let filters = [
        (TextFilter::default(), "b_1 Ab c%"),
        (pattern("B"), "b_1 Ab"),
        (pattern(r"\_|\%"), "b_1 c%"),
        (prefix("A"), "Ab"),
        (prefix("b_"), "b_1"),
        (TextFilter { pattern: text("b"), prefix: text("A") }, "Ab"),
    ];
    for (filter, expected) in filters {
        let variables = store.list_variables(&filter, &[], Page::ALL).unwrap();
        assert_eq!(variables.0.iter().map(|found| &*found.key).collect::<Vec<_>>().join(" "), expected, "{filter:?}");
        let connections = store.list_connections(&filter, &[], Page::ALL).unwrap();
        let ids: Vec<&str> = connections.0.iter().map(|found| &*found.connection_id).collect();
        assert_eq!(ids.join(" "), expected, "{filter:?}");
        let pools = store.list_pools(&filter, &[], Page::ALL).unwrap();
        assert_eq!(pools.0.iter().map(|found| &*found.name).collect::<Vec<_>>().join(" "), expected, "{filter:?}");
        assert_eq!([variables.1, connections.1, pools.1], [ids.len() as u64; 3]);
    }
    assert_eq!(store.variables(Some("b"), Page::ALL).unwrap().0[0].key, "Ab", "in the order of their keys");
    assert_eq!(store.connections(Some("b"), Page::ALL).unwrap().0[0].connection_id, "Ab");
    assert_eq!(store.pools(None, Page { limit: 1, offset: 1 }).unwrap(), (vec![pool("b_1")], 3));
    orders_of_settings(store);
}

fn orders_of_settings(store: &dyn Store) {
    let up = Direction::Ascending;
    let variables = [
        (VariableOrder::Created, "b_1 Ab c%"),
        (VariableOrder::Key, "Ab b_1 c%"),
        (VariableOrder::Value, "Ab b_1 c%"),
        (VariableOrder::Description, "b_1 c% Ab"),
        (VariableOrder::IsEncrypted, "b_1 Ab c%"),
    ];
    for (key, expected) in variables {
        let (found, _) = store.list_variables(&TextFilter::default(), &[(key, up)], Page::ALL).unwrap();
        assert_eq!(found.iter().map(|found| &*found.key).collect::<Vec<_>>().join(" "), expected, "{key:?}");
    }
    let connections = [
        (ConnectionOrder::Created, "b_1 Ab c%"),
        (ConnectionOrder::ConnectionId, "Ab b_1 c%"),
        (ConnectionOrder::ConnType, "Ab b_1 c%"),
        (ConnectionOrder::Description, "b_1 Ab c%"),
        (ConnectionOrder::Host, "b_1 c% Ab"),
        (ConnectionOrder::Port, "c% b_1 Ab"),
    ];
    for (key, expected) in connections {
        let (found, _) = store.list_connections(&TextFilter::default(), &[(key, up)], Page::ALL).unwrap();
        let ids: Vec<&str> = found.iter().map(|found| &*found.connection_id).collect();
        assert_eq!(ids.join(" "), expected, "{key:?}");
    }
    for (key, expected) in [(PoolOrder::Created, "b_1 Ab c%"), (PoolOrder::Name, "Ab b_1 c%")] {
        let (found, _) = store.list_pools(&TextFilter::default(), &[(key, up)], Page::ALL).unwrap();
        assert_eq!(found.iter().map(|found| &*found.name).collect::<Vec<_>>().join(" "), expected, "{key:?}");
    }
    let turned = [(VariableOrder::Description, Direction::Descending)];
    let (found, _) = store.list_variables(&TextFilter::default(), &turned, Page { limit: 1, offset: 0 }).unwrap();
    assert_eq!(found[0].key, "Ab");
}
