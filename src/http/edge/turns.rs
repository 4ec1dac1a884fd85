//! Turns at what only some can do at once, e.g. long downloads.
//! Never lets those who hold most keep one from beginning who holds less.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mentorlog_events::id::TokenId;
use tokio::sync::Notify;

/// Whoever shows no token is one.
type Who = Option<TokenId>;

struct Table {
    /// In the order they began.
    held: BTreeMap<u64, (Who, Arc<Notify>)>,
    next: u64,
}

/// So many turns.
pub struct Turns {
    most: usize,
    table: Mutex<Table>,
}

impl Turns {
    /// None is taken yet.
    pub const fn new(most: usize) -> Self {
        Self { most, table: Mutex::new(Table { held: BTreeMap::new(), next: 0 }) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a turn. When none is left, whoever has most loses the oldest it has to somebody who would have fewer.
    /// `None`: nobody has more than the asker would have.
    pub fn take(&'static self, who: Who) -> Option<Turn> {
        let mut table = self.table();
        if table.held.len() >= self.most {
            let mut counts: BTreeMap<Who, usize> = BTreeMap::new();
            table.held.values().for_each(|(who, _)| *counts.entry(*who).or_default() += 1);
            let mine = counts.get(&who).copied().unwrap_or(0) + 1;
            let (loser, _) =
                counts.into_iter().filter(|(_, count)| *count > mine).max_by_key(|(_, count)| *count)?;
            let number = table.held.iter().find(|(_, (who, _))| *who == loser).map(|(number, _)| *number)?;
            let (_, over) = table.held.remove(&number)?;
            over.notify_one();
        }
        let number = table.next;
        table.next += 1;
        let over = Arc::new(Notify::new());
        table.held.insert(number, (who, over.clone()));
        Some(Turn { turns: self, number, over })
    }
}

/// A turn; given back when it is dropped.
pub struct Turn {
    turns: &'static Turns,
    number: u64,
    over: Arc<Notify>,
}

impl Turn {
    /// Ready when the turn went to somebody else.
    pub async fn over(&self) {
        self.over.notified().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.table().held.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    fn token(number: u128) -> TokenId {
        TokenId(uuid::Uuid::from_u128(number))
    }

    async fn is_over(turn: &Turn) -> bool {
        let mut over = std::pin::pin!(turn.over());
        std::future::poll_fn(|context| Poll::Ready(over.as_mut().poll(context).is_ready())).await
    }

    #[tokio::test]
    async fn one_who_holds_all_turns_gives_up_the_oldest_to_each_who_has_fewer() {
        static TURNS: Turns = Turns::new(4);
        let held: Vec<Turn> = (0..4).map(|_| TURNS.take(Some(token(1))).unwrap()).collect();
        assert!(TURNS.take(Some(token(1))).is_none(), "to itself nobody loses one");
        let second = TURNS.take(Some(token(2))).unwrap();
        assert!(is_over(&held[0]).await && !is_over(&held[1]).await);
        let third = TURNS.take(None).unwrap();
        assert!(is_over(&held[1]).await && !is_over(&held[2]).await);
        assert!(TURNS.take(Some(token(2))).is_none(), "all have their share");
        assert!(!is_over(&second).await && !is_over(&third).await);
        drop(held);
        assert!(TURNS.take(Some(token(2))).is_some(), "what was given back is there for anybody");
        assert_eq!(TURNS.table().held.len(), 2);
    }
}
