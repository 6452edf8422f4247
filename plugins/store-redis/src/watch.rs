//! Following changes: a script says what has changed since a number, and a subscription says when it is worth asking. The subscription is all that is kept from one call to the
//! next; a lost one costs nothing but a new one.

use std::cell::RefCell;

use twill_guest::store::http::Reply;
use twill_guest::store::{Change, Changes, Oddity, Subnets, Trouble, clock};

use crate::entry::Entry;
use crate::redis::{NEWS, Redis};
use crate::view::config_of;

thread_local! {
    static SUBSCRIPTION: RefCell<Option<Reply>> = const { RefCell::new(None) };
}

/// Longest wait without looking, in milliseconds: a subscription may be lost without a word.
const LOOK_AGAIN: f64 = 5_000.0;

/// Changes since `cursor`, as soon as there are any, or none after `wait_ms` milliseconds.
///
/// # Errors
/// The cursor is not this store's or too old, or Redis cannot be asked.
pub fn watch(redis: &Redis, cursor: &str, wait_ms: u32) -> Result<Changes, Trouble> {
    let lost = || Trouble::LostCursor(format!("the cursor \"{}\" is none of this store's, or too old", cursor.escape_debug()));
    let (identity, number) = cursor.split_once(':').filter(|(_, number)| number.parse::<u64>().is_ok()).ok_or_else(lost)?;
    let end = clock::now() + f64::from(wait_ms);
    loop {
        let news = redis.run(NEWS, &[identity, number])?;
        let [now, next_end, changed @ ..] = &news[..] else { return Err(lost()) };
        let left = end - clock::now();
        if !changed.is_empty() || left <= 0.0 {
            let changes = changed.chunks(4).flat_map(change).collect();
            return Ok(Changes { changes, cursor: format!("{identity}:{now}") });
        }
        let next_end = next_end.parse::<f64>().map_or(LOOK_AGAIN, |next| next + 1.0);
        wait(redis, left.min(next_end).clamp(0.0, LOOK_AGAIN).ceil() as u32)?;
    }
}

/// Returns when the subscription says something, or after so many milliseconds. A fresh one says something at once, so that what happened before it is looked for.
fn wait(redis: &Redis, milliseconds: u32) -> Result<(), Trouble> {
    SUBSCRIPTION.with_borrow_mut(|kept| {
        let stream = match kept.take() {
            Some(stream) => stream,
            None => redis.subscribe()?,
        };
        if let Ok(Some(_)) = stream.read(milliseconds) {
            *kept = Some(stream);
        }
        Ok(())
    })
}

/// One change from its four fields.
fn change(fields: &[String]) -> Option<Change> {
    let [what, fields @ ..] = fields else { return None };
    if what == "config" {
        return Some(Change::Config(config_of(fields.first()?)));
    }
    let name = what.strip_prefix("lease ")?;
    Some(match Entry::of(name, fields) {
        Err(reason) => Change::Oddity(Oddity { place: name.to_owned(), reason }),
        Ok(Some(Entry { lease: Err(reason), .. })) => Change::Oddity(Oddity { place: name.to_owned(), reason }),
        Ok(Some(Entry { lease: Ok(lease), .. })) => Change::Put(lease),
        Ok(None) => Change::Gone(Subnets::from_name(name)?.prefixes()),
    })
}

#[cfg(test)]
mod tests {
    use twill_guest::fake;

    use super::*;

    fn news(fields: &str) -> Vec<u8> {
        format!("{{\"EVAL\":[{fields}]}}").into_bytes()
    }

    #[test]
    fn a_cursor_of_another_store_is_lost_without_asking() {
        let redis = Redis::new("t", "n");
        for cursor in ["", "x", "i:-1", "i:x"] {
            assert!(matches!(watch(&redis, cursor, 0), Err(Trouble::LostCursor(_))), "{cursor}");
        }
        fake::http::serve("redis", |_| Ok(fake::http::answer(200, &news(r#""lost""#))));
        assert!(matches!(watch(&redis, "i:7", 0), Err(Trouble::LostCursor(_))));
    }

    #[test]
    fn a_word_of_the_subscription_wakes_the_watch() {
        let asked = std::rc::Rc::new(std::cell::Cell::new(0));
        let count = asked.clone();
        fake::http::serve("redis", move |_| {
            count.set(count.get() + 1);
            // After the subscription's first word there is nothing yet; after its second the config is there.
            let fields = if count.get() < 3 { r#""7","""# } else { r#""8","","config","1{}","","""# };
            Ok(fake::http::answer(200, &news(fields)))
        });
        fake::http::stream("redis", |_| Ok(fake::http::Reply::of(200, &[(0, b"subscribed"), (400, b"news")]).endless()));
        let began = clock::now();
        let told = watch(&Redis::new("t", "n"), "i:7", 10_000).expect("changes");
        assert!(matches!(&told.changes[..], [Change::Config(Some(config))] if config == "{}"));
        assert_eq!((told.cursor.as_str(), clock::now() - began, asked.get()), ("i:8", 400.0, 3));
    }

    #[test]
    fn without_news_it_waits_as_long_as_it_is_told_and_looks_at_the_next_end() {
        let asked = std::rc::Rc::new(std::cell::Cell::new(0));
        let count = asked.clone();
        fake::http::serve("redis", move |_| {
            count.set(count.get() + 1);
            Ok(fake::http::answer(200, &news(r#""7","600""#)))
        });
        fake::http::stream("redis", |_| Ok(fake::http::Reply::of(200, &[(0, b"subscribed")]).endless()));
        let began = clock::now();
        let told = watch(&Redis::new("t", "n"), "i:7", 1_500).expect("no changes");
        assert_eq!((told.changes.len(), clock::now() - began), (0, 1_500.0));
        assert!(asked.get() >= 4, "it looked {} times", asked.get());
    }
}
