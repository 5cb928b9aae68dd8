//! What task instances ask people.

use model::{Change, HitlDetail, HitlQuestion, HitlResponse, HitlUser, TaskInstance, TaskInstanceId, TaskInstanceKey};
use serde_json::json;
use store::{HitlFilter, HitlOrder, Page, Store, StoreError, Write};
use uuid::Uuid;

use crate::fixtures::{at, put_run, put_ti, run, run_key, ti, ti_key};

pub fn user(name: &str) -> HitlUser {
    HitlUser { id: format!("id of {name}"), name: name.into() }
}

pub fn question(subject: &str) -> HitlQuestion {
    HitlQuestion {
        options: vec!["yes".into(), "nö".into()],
        subject: subject.into(),
        body: Some("# Read\nthis".into()),
        defaults: Some(vec!["nö".into()]),
        multiple: true,
        params: json!({"z": {"value": 1, "schema": {}, "description": null}, "a": "plain"}),
        assigned_users: vec![user("eve"), user("bob")],
    }
}

pub fn asked(key: &TaskInstanceKey, subject: &str, seconds: i64) -> HitlDetail {
    HitlDetail { key: key.clone(), question: question(subject), created_at: at(seconds), response: None, untold: false }
}

pub fn response(by: Option<&str>, seconds: i64) -> HitlResponse {
    let params_input = json!({"z": [1], "a": null});
    HitlResponse { at: at(seconds), by: by.map(user), chosen_options: vec!["yes".into()], params_input }
}

pub fn put(detail: &HitlDetail) -> Write {
    Write::HitlAsked(Box::new(detail.clone()))
}

pub fn answer(key: &TaskInstanceKey, response: &HitlResponse, untold: bool) -> Write {
    Write::Decision(Change::HitlAnswered { key: key.clone(), response: Box::new(response.clone()), untold })
}

pub fn questions_are_asked_and_answered(store: &dyn Store) {
    let made = run("d", "r");
    let key = ti_key(&made.key, "t");
    let first = asked(&key, "which?", 1);
    store.commit(vec![put_run(&made), put(&first), put(&asked(&ti_key(&made.key, "other"), "what?", 2))]).unwrap();
    assert_eq!(store.hitl_detail(&key).unwrap(), Some(first.clone()));
    assert_eq!(store.hitl_detail(&ti_key(&made.key, "never")).unwrap(), None);
    assert_eq!(store.hitl_detail(&ti_key(&run_key("d", "nowhere"), "t")).unwrap(), None);
    let least =
        HitlQuestion { body: None, defaults: None, multiple: false, assigned_users: Vec::new(), ..question("") };
    let bare = HitlDetail { question: least, ..asked(&ti_key(&made.key, "bare"), "", 3) };
    store.commit(vec![put(&bare)]).unwrap();
    assert_eq!(store.hitl_detail(&bare.key).unwrap(), Some(bare));
    for (by, untold) in [(Some("eve"), true), (None, false)] {
        let given = response(by, 5);
        for _ in 0..2 {
            store.commit(vec![answer(&key, &given, untold)]).unwrap();
            let answered = HitlDetail { response: Some(given.clone()), untold, ..first.clone() };
            assert_eq!(store.hitl_detail(&key).unwrap(), Some(answered));
        }
    }
    assert_eq!(store.hitl_detail(&ti_key(&made.key, "other")).unwrap().unwrap().response, None);
    let lost = store.commit(vec![put(&asked(&ti_key(&run_key("d", "nowhere"), "t"), "which?", 1))]);
    assert!(matches!(lost, Err(StoreError::Missing { .. })), "{lost:?}");
    // An answer to what is gone in the same moment is nobody's any more.
    let gone = ti_key(&run_key("d", "nowhere"), "t");
    let told = Write::Decision(Change::HitlTold(gone.clone()));
    store.commit(vec![answer(&gone, &response(None, 1), false), told]).unwrap();
}

pub fn a_question_that_is_asked_again_forgets_the_answer_that_was_told(store: &dyn Store) {
    let made = run("d", "r");
    let key = ti_key(&made.key, "t");
    let (first, given) = (asked(&key, "which?", 1), response(Some("eve"), 5));
    store.commit(vec![put_run(&made), put(&first), answer(&key, &given, true)]).unwrap();
    // Nobody was told: it is good for the same question.
    store.commit(vec![put(&asked(&key, "which?", 9))]).unwrap();
    let kept = HitlDetail { response: Some(given.clone()), untold: true, ..first.clone() };
    assert_eq!(store.hitl_detail(&key).unwrap(), Some(kept));
    store.commit(vec![Write::Decision(Change::HitlTold(key.clone()))]).unwrap();
    assert!(!store.hitl_detail(&key).unwrap().unwrap().untold);
    store.commit(vec![put(&asked(&key, "which?", 9))]).unwrap();
    assert_eq!(store.hitl_detail(&key).unwrap(), Some(first.clone()));
    store.commit(vec![answer(&key, &given, true), put(&asked(&key, "why?", 10))]).unwrap();
    assert_eq!(store.hitl_detail(&key).unwrap(), Some(HitlDetail { question: question("why?"), ..first }));
}

pub fn tries_keep_what_they_have_asked(store: &dyn Store) {
    let made = run("d", "r");
    let (old, new) = (ti(&made.key, "t", 1), ti(&made.key, "t", 2));
    let (first, given) = (asked(&old.key(), "which?", 1), response(Some("eve"), 5));
    let archived = |ti: &TaskInstance| Write::Decision(Change::ArchivedTry(Box::new(ti.clone())));
    store.commit(vec![put_run(&made), put_ti(&old), put(&first), answer(&old.key(), &given, false)]).unwrap();
    assert_eq!(store.task_instance_named(old.id).unwrap(), Some(old.key()));
    for _ in 0..2 {
        store.commit(vec![archived(&old), put_ti(&new)]).unwrap();
    }
    store.commit(vec![put(&asked(&new.key(), "why?", 7))]).unwrap();
    let kept = HitlDetail { response: Some(given), ..first };
    assert_eq!(store.hitl_detail_of_try(&old.key(), old.id).unwrap(), Some(kept));
    assert_eq!(store.hitl_detail_of_try(&old.key(), new.id).unwrap(), None);
    assert_eq!(store.task_instance_named(new.id).unwrap(), Some(new.key()));
    assert_eq!(store.task_instance_named(old.id).unwrap(), None);
    let list = || store.hitl_details(&HitlFilter::default(), &[], Page::ALL).unwrap();
    assert_eq!((list().0[0].1.clone(), list().1), (new.clone(), 1));
    store.commit(vec![Write::Decision(Change::RunDeleted(made.key.clone()))]).unwrap();
    assert_eq!(store.hitl_detail(&new.key()).unwrap(), None);
    store.commit(vec![put_run(&made)]).unwrap();
    assert_eq!(store.hitl_detail(&new.key()).unwrap(), None);
    assert_eq!(store.hitl_detail_of_try(&old.key(), old.id).unwrap(), None);
    assert_eq!(list().1, 0);
}

pub fn filters_of_questions(store: &dyn Store) {
    let (one, two) = (run("one", "r"), run("two", "s"));
    let mut batch = vec![put_run(&one), put_run(&two)];
    for (number, (made, task, subject)) in
        [(&one, "a", "Which one?"), (&one, "b", "why?"), (&two, "a", "100%")].into_iter().enumerate()
    {
        let ti = TaskInstance { id: TaskInstanceId(Uuid::from_u128(number as u128)), ..ti(&made.key, task, 0) };
        batch.extend([put_ti(&ti), put(&asked(&ti.key(), subject, number as i64))]);
    }
    batch.push(answer(&ti_key(&one.key, "b"), &response(Some("eve"), 50), false));
    batch.push(answer(&ti_key(&two.key, "a"), &response(None, 40), false));
    store.commit(batch).unwrap();
    let subjects = |filter: HitlFilter, order: &[(HitlOrder, store::Direction)]| {
        let (found, total) = store.hitl_details(&filter, order, Page::ALL).unwrap();
        assert_eq!(found.len() as u64, total);
        found.into_iter().map(|(detail, _)| detail.question.subject).collect::<Vec<_>>()
    };
    let open = || HitlFilter::default();
    let text = |text: &str| Some(text.to_owned());
    for (filter, wanted) in [
        (open(), vec!["Which one?", "why?", "100%"]),
        (HitlFilter { dag_id: Some("one".into()), ..open() }, vec!["Which one?", "why?"]),
        (HitlFilter { run_id: Some("s".into()), ..open() }, vec!["100%"]),
        (HitlFilter { task_id: text("a"), ..open() }, vec!["Which one?", "100%"]),
        (HitlFilter { answered: Some(false), ..open() }, vec!["Which one?"]),
        (HitlFilter { answered: Some(true), ..open() }, vec!["why?", "100%"]),
        (HitlFilter { user_names: vec!["eve".into(), "bob".into()], ..open() }, vec!["why?"]),
        (HitlFilter { user_ids: vec!["id of bob".into()], ..open() }, vec![]),
        (HitlFilter { subject: text("WHICH"), ..open() }, vec!["Which one?"]),
        (HitlFilter { subject: text("\\%"), ..open() }, vec!["100%"]),
        (
            HitlFilter {
                body: text("read"),
                created_at: store::Span { from: Some(at(2)), ..Default::default() },
                ..open()
            },
            vec!["100%"],
        ),
        (HitlFilter { map_index: Some(0), ..open() }, vec![]),
    ] {
        let said = format!("{filter:?}");
        assert_eq!(subjects(filter, &[]), wanted, "{said}");
    }
    let latest = [(HitlOrder::RespondedAt, store::Direction::Descending)];
    assert_eq!(subjects(open(), &latest), ["Which one?", "why?", "100%"]);
    let by_user = [(HitlOrder::UserName, store::Direction::Ascending)];
    assert_eq!(subjects(open(), &by_user), ["why?", "Which one?", "100%"]);
}
