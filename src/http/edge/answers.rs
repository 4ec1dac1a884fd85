//! What is on its way out: answers in pieces, within a room they share, and who does not take them.
//! Never lets somebody who does not read keep others from reading.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, Version};
use bytes::{Buf, Bytes};
use hyper::body::{Body as _, Frame, SizeHint};
use mentorlog_events::id::TokenId;

use super::counts::Ended;
use super::rates::Asker;
use super::seats::{Network, Order, STALL_TIMEOUT, Seat, UnderWay, sweeps};

/// Bytes that all answers under way hold together.
pub const ROOM_BYTES: usize = 64 * 1024 * 1024;

/// Most bytes offered to a connection at once.
pub const PIECE_BYTES: usize = 64 * 1024;

/// An answer by HTTP/1 up to this length is always sent: so much, once for each connection, is less than what the
/// connection itself takes.
const SMALL_BYTES: usize = 4 * 1024;

/// How long an answer is left in peace when the one who gets it asks for more than there is room for.
const PEACE: Duration = Duration::from_secs(5);

/// Marks an answer whose bytes are there anyway, e.g. a part of the program: it takes no room.
#[derive(Debug, Clone, Copy)]
pub struct Shared;

/// Who gets an answer: whose token was shown, or where a request without one came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A token.
    Token(TokenId),
    /// A network.
    Network(Network),
}

impl Holder {
    /// Of an answer on its way to a connection.
    pub fn of<B>(response: &Response<B>, seat: &Seat) -> Self {
        let token = response.extensions().get::<Asker>().and_then(|asker| asker.token);
        token.map_or_else(|| Self::Network(seat.network()), Self::Token)
    }
}

/// An answer that is watched.
struct Long {
    seat: Arc<Seat>,
    holder: Holder,
    /// Bytes held in memory for it.
    held: usize,
    begun: u32,
    /// When a piece was last asked for or taken.
    moved: AtomicU32,
    /// Whether the next piece was asked for and is not there yet.
    is_ours: AtomicBool,
    /// Pieces given out and not written yet.
    pieces: AtomicU32,
}

impl Long {
    fn waits_for_client(&self) -> bool {
        !self.is_ours.load(Ordering::Relaxed) || self.pieces.load(Ordering::Relaxed) > 0
    }
}

#[derive(Default)]
struct Table {
    /// In the order they began.
    long: BTreeMap<u64, Arc<Long>>,
    held: usize,
    /// What each holds; nobody who holds nothing.
    by_holder: HashMap<Holder, usize>,
    next: u64,
}

/// Every answer under way that is watched.
#[derive(Default)]
pub struct Answers {
    table: Mutex<Table>,
    /// Sweeps so far.
    now: AtomicU32,
}

impl Answers {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    /// Takes room for an answer. When there is none, whoever holds most loses the oldest it has ("longest queue drop",
    /// Suter, Lakshman, Stiliadis and Choudhury, 1999): who holds little is never kept out by those who do not read.
    /// `None`: with this answer the asker would hold most, and what it has, or else what anybody has, is too young to be
    /// taken away.
    pub fn admit(self: &Arc<Self>, seat: &Arc<Seat>, holder: Holder, held: usize) -> Option<Arc<Admitted>> {
        let mut table = self.table();
        let now = self.now();
        while held > 0 && table.held > 0 && table.held + held > ROOM_BYTES {
            let mine = table.by_holder.get(&holder).copied().unwrap_or(0) + held;
            let (most, bytes) = table.by_holder.iter().max_by_key(|(_, bytes)| **bytes)?;
            let has_more = *bytes > mine;
            let oldest_of =
                |loser: Holder| table.long.iter().find(|(_, long)| long.held > 0 && long.holder == loser);
            let (number, oldest) = if has_more {
                oldest_of(*most)?
            } else {
                // The asker's own; or, if it has none, anybody's.
                let any = || table.long.iter().find(|(_, long)| long.held > 0);
                oldest_of(holder).or_else(any)?
            };
            if !has_more && now.saturating_sub(oldest.begun) < sweeps(PEACE) {
                return None;
            }
            oldest.seat.tell(Order::Cut, Some(Ended::GaveWay));
            let number = *number;
            table.end(number);
        }
        let number = table.next;
        table.next += 1;
        table.held += held;
        if held > 0 {
            *table.by_holder.entry(holder).or_default() += held;
        }
        let long = Arc::new(Long {
            seat: seat.clone(),
            holder,
            held,
            begun: now,
            moved: AtomicU32::new(now),
            is_ours: AtomicBool::new(false),
            pieces: AtomicU32::new(0),
        });
        table.long.insert(number, long.clone());
        Some(Arc::new(Admitted { answers: self.clone(), number, long }))
    }

    /// Lets one sweep of time pass, and cuts the connections that do not take what is offered.
    pub fn sweep(&self) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        for long in self.table().long.values() {
            let still = now.saturating_sub(long.moved.load(Ordering::Relaxed));
            if long.waits_for_client() && still >= sweeps(STALL_TIMEOUT) {
                long.seat.tell(Order::Cut, Some(Ended::Stall));
            }
        }
    }
}

impl Table {
    fn end(&mut self, number: u64) {
        let Some(long) = self.long.remove(&number) else { return };
        self.held -= long.held;
        if let Some(bytes) = self.by_holder.get_mut(&long.holder) {
            *bytes -= long.held;
            if *bytes == 0 {
                self.by_holder.remove(&long.holder);
            }
        }
    }
}

/// An answer that has its room; given back when it and all its pieces are dropped.
pub struct Admitted {
    answers: Arc<Answers>,
    number: u64,
    long: Arc<Long>,
}

impl Admitted {
    fn moved(&self) {
        self.long.moved.store(self.answers.now(), Ordering::Relaxed);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.answers.table().end(self.number);
    }
}

/// How many bytes of room an answer takes; `None`: it is small, and is not watched. By HTTP/2 every answer is: there a
/// client says itself how much of each it takes, and may ask for many at once.
pub fn weight(response: &Response<Body>, version: Version) -> Option<usize> {
    let Some(length) = response.body().size_hint().exact() else {
        // Of unknown length: it comes piece by piece.
        return Some(0);
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let small = if version == Version::HTTP_2 { 0 } else { SMALL_BYTES };
    (length > small).then(|| if response.extensions().get::<Shared>().is_some() { 0 } else { length })
}

/// The body of an answer, on its way out.
pub struct Answer {
    body: Body,
    /// The rest of what the body gave.
    rest: Bytes,
    long: Option<Arc<Admitted>>,
    _under_way: UnderWay,
}

impl Answer {
    /// `long`: what was admitted, if it had to be.
    pub fn new(body: Body, long: Option<Arc<Admitted>>, under_way: UnderWay) -> Self {
        Self { body, rest: Bytes::new(), long, _under_way: under_way }
    }

    fn piece(&mut self) -> Bytes {
        let length = self.rest.len().min(PIECE_BYTES);
        self.rest.split_to(length)
    }

    fn give(&self, bytes: Bytes) -> Piece {
        if let Some(long) = &self.long {
            long.long.pieces.fetch_add(1, Ordering::Relaxed);
        }
        Piece { bytes, of: self.long.clone() }
    }
}

/// A part of an answer that was given to whoever writes it. It counts as held until it is written.
pub struct Piece {
    bytes: Bytes,
    of: Option<Arc<Admitted>>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(of) = &self.of {
            of.moved();
            of.long.pieces.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl hyper::body::Body for Answer {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let polled = if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    // In pieces: of a whole one nobody would know how much of it was taken.
                    Ok(data) => {
                        self.rest = data;
                        let piece = self.piece();
                        Poll::Ready(Some(Ok(Frame::data(self.give(piece)))))
                    }
                    Err(other) => Poll::Ready(Some(Ok(other.map_data(|data| self.give(data))))),
                },
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        } else {
            let piece = self.piece();
            Poll::Ready(Some(Ok(Frame::data(self.give(piece)))))
        };
        if let Some(long) = &self.long {
            long.moved();
            long.long.is_ours.store(polled.is_pending(), Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        match hint.exact() {
            Some(exact) => hint.set_exact(exact + rest),
            None => hint.set_lower(hint.lower() + rest),
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::http::edge::seats::{Room, Seats, Taken};

    fn taken(seats: &Arc<Seats>) -> Taken {
        seats.take(([127, 0, 0, 1], 1).into()).unwrap()
    }

    fn seats() -> Arc<Seats> {
        Seats::new(Room { connections: 8, per_peer: None })
    }

    async fn is_cut(seat: &Seat) -> bool {
        let mut told = std::pin::pin!(seat.told());
        std::future::poll_fn(|context| Poll::Ready(told.as_mut().poll(context))).await
            == Poll::Ready(Order::Cut)
    }

    /// A body that has nothing to say for now.
    struct Quiet;

    impl hyper::body::Body for Quiet {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            Poll::Pending
        }
    }

    fn token(number: u128) -> Holder {
        Holder::Token(TokenId(uuid::Uuid::from_u128(number)))
    }

    fn pass(answers: &Answers, time: Duration) {
        (0..sweeps(time)).for_each(|_| answers.sweep());
    }

    #[tokio::test]
    async fn a_long_answer_is_sent_whole_and_in_pieces_and_holds_its_room_until_the_last_is_written() {
        let (seats, answers) = (seats(), Arc::new(Answers::default()));
        let taken = taken(&seats);
        let bytes: Vec<u8> = (0..=250).cycle().take(3 * PIECE_BYTES + 5).collect();
        let response = Response::new(Body::from(bytes.clone()));
        let held = weight(&response, Version::HTTP_11).expect("it is long");
        let admitted = answers.admit(&taken.seat, token(1), held);
        let mut answer = Answer::new(response.into_body(), admitted, taken.seat.begin());
        let (mut sent, mut pieces) = (Vec::new(), Vec::new());
        while let Some(frame) = answer.frame().await {
            let data = frame.unwrap().into_data().ok().unwrap();
            assert!(data.remaining() <= PIECE_BYTES);
            sent.extend_from_slice(data.chunk());
            pieces.push(data);
            assert_eq!(answer.size_hint().exact(), Some((bytes.len() - sent.len()) as u64));
        }
        assert_eq!((sent == bytes, pieces.len(), answer.is_end_stream()), (true, 4, true));
        drop(answer);
        assert_eq!(answers.table().held, bytes.len(), "its pieces are not written yet");
        drop(pieces);
        assert_eq!(answers.table().held, 0);
        assert!(answers.table().by_holder.is_empty());
    }

    #[test]
    fn what_is_there_anyway_takes_no_room_and_by_http2_everything_is_watched() {
        let of = |length: usize| Response::new(Body::from(vec![0; length]));
        assert_eq!(weight(&of(SMALL_BYTES), Version::HTTP_11), None);
        assert_eq!(weight(&of(SMALL_BYTES + 1), Version::HTTP_11), Some(SMALL_BYTES + 1));
        assert_eq!(weight(&of(1), Version::HTTP_2), Some(1));
        assert_eq!(weight(&of(0), Version::HTTP_2), None);
        assert_eq!(weight(&Response::new(Body::new(Quiet)), Version::HTTP_11), Some(0));
        let mut shared = of(PIECE_BYTES);
        shared.extensions_mut().insert(Shared);
        assert_eq!(weight(&shared, Version::HTTP_11), Some(0));
    }

    #[tokio::test]
    async fn who_holds_most_loses_its_oldest_to_whoever_holds_less() {
        let (seats, answers) = (seats(), Arc::new(Answers::default()));
        let conns: Vec<_> = (0..5).map(|_| taken(&seats)).collect();
        let eighth = ROOM_BYTES / 8;
        let held: Vec<_> =
            (0..4).map(|n| answers.admit(&conns[n].seat, token(1), 2 * eighth).unwrap()).collect();
        // Just begun, all of them, and the room is full: one who holds less gets in all the same.
        let other = answers.admit(&conns[4].seat, token(2), eighth);
        assert!(other.is_some());
        assert!(is_cut(&conns[0].seat).await && !is_cut(&conns[1].seat).await);
        // There are as many bytes left as one of theirs lost; a stranger's network is told apart from both.
        let network = Holder::Network(conns[4].seat.network());
        assert!(answers.admit(&conns[4].seat, network, eighth).is_some());
        drop((held, other));
        let table = answers.table();
        assert_eq!((table.held, table.by_holder.len()), (0, 0), "nothing is given back twice");
    }

    #[tokio::test]
    async fn who_holds_most_is_left_in_peace_by_itself_for_a_moment() {
        let (seats, answers) = (seats(), Arc::new(Answers::default()));
        let (slow, other) = (taken(&seats), taken(&seats));
        let held = answers.admit(&slow.seat, token(1), ROOM_BYTES - 10).unwrap();
        assert!(answers.admit(&other.seat, token(1), 11).is_none(), "it has just begun");
        assert!(answers.admit(&other.seat, token(1), 10).is_some(), "and there is room for this one");
        assert!(answers.admit(&other.seat, token(1), 0).is_some(), "a stream takes none");
        pass(&answers, PEACE);
        assert!(answers.admit(&other.seat, token(1), 11).is_some());
        assert!(is_cut(&slow.seat).await && !is_cut(&other.seat).await);
        drop(held);
        assert_eq!(answers.table().held, 0, "nothing is given back twice");
    }

    #[tokio::test]
    async fn who_asks_for_most_and_has_nothing_waits_no_longer_than_the_peace_of_others() {
        let (seats, answers) = (seats(), Arc::new(Answers::default()));
        let (one, other) = (taken(&seats), taken(&seats));
        let half = ROOM_BYTES / 2;
        let _held = answers.admit(&one.seat, token(1), half).unwrap();
        assert!(answers.admit(&other.seat, token(2), half + 1).is_none(), "the other has just begun");
        pass(&answers, PEACE);
        assert!(answers.admit(&other.seat, token(2), half + 1).is_some());
        assert!(is_cut(&one.seat).await);
    }

    #[tokio::test]
    async fn an_answer_beyond_the_room_goes_out_alone_and_keeps_no_stream_out() {
        let (seats, answers) = (seats(), Arc::new(Answers::default()));
        let (one, other) = (taken(&seats), taken(&seats));
        let _large = answers.admit(&one.seat, token(1), ROOM_BYTES + 1).unwrap();
        assert!(answers.admit(&other.seat, token(2), 0).is_some());
        assert!(!is_cut(&one.seat).await);
    }

    #[tokio::test]
    async fn a_piece_that_nobody_takes_ends_the_connection_and_an_answer_that_waits_for_us_does_not() {
        let (seats, answers) = (seats(), Arc::new(Answers::default()));
        let (stuck, ours, unasked, written) = (taken(&seats), taken(&seats), taken(&seats), taken(&seats));
        let long = |taken: &Taken| {
            let body = Body::from(vec![0; 2 * PIECE_BYTES]);
            Answer::new(body, answers.admit(&taken.seat, token(1), 1), taken.seat.begin())
        };
        let mut answer = long(&stuck);
        let _piece = answer.frame().await;
        // By HTTP/2: no window was ever opened for it.
        let _never = long(&unasked);
        // By HTTP/2: the window ended just where a piece does.
        let mut half = long(&written);
        drop(half.frame().await);
        let quiet = Body::new(Quiet);
        let mut waits = Answer::new(quiet, answers.admit(&ours.seat, token(1), 0), ours.seat.begin());
        let mut frame = std::pin::pin!(waits.frame());
        std::future::poll_fn(|context| Poll::Ready(frame.as_mut().poll(context).is_pending())).await;
        (1..sweeps(STALL_TIMEOUT)).for_each(|_| answers.sweep());
        assert!(!is_cut(&stuck.seat).await);
        answers.sweep();
        assert!(is_cut(&stuck.seat).await && is_cut(&unasked.seat).await && is_cut(&written.seat).await);
        assert!(!is_cut(&ours.seat).await);
    }
}
