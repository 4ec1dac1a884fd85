//! What is on its way out: answers in pieces, long ones within a room they share, and who does not take them.
//! Never lets somebody who does not read keep others from reading.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};

use super::counts::Ended;
use super::seats::{Order, STALL_TIMEOUT, Seat, UnderWay, sweeps};

/// Bytes that all long answers hold together.
pub const ROOM_BYTES: usize = 64 * 1024 * 1024;

/// An answer up to this length is always sent, in one piece.
pub const PIECE_BYTES: usize = 64 * 1024;

/// How long a long answer is left in peace when another needs its room.
const PEACE: Duration = Duration::from_secs(5);

/// A long answer, or one whose length is not known.
struct Long {
    seat: Arc<Seat>,
    /// Bytes held in memory for it.
    held: usize,
    begun: u32,
    /// 1 + since when a piece is not taken; 0: none is offered.
    offered: AtomicU32,
}

#[derive(Default)]
struct Table {
    /// In the order they began.
    long: BTreeMap<u64, Arc<Long>>,
    held: usize,
    next: u64,
    now: u32,
}

/// Every long answer under way.
#[derive(Default)]
pub struct Answers(Mutex<Table>);

impl Answers {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for an answer. When there is none, the oldest long ones are cut that were left in peace long enough.
    /// `None`: all are too young.
    pub fn admit(self: &Arc<Self>, seat: &Arc<Seat>, held: usize) -> Option<Admitted> {
        let mut table = self.table();
        while table.held + held > ROOM_BYTES && table.held > 0 {
            let now = table.now;
            let (number, oldest) = table.long.iter().find(|(_, long)| long.held > 0)?;
            if now.saturating_sub(oldest.begun) < sweeps(PEACE) {
                return None;
            }
            oldest.seat.tell(Order::Cut, Some(Ended::GaveWay));
            let number = *number;
            table.end(number);
        }
        let (number, begun) = (table.next, table.now);
        table.next += 1;
        table.held += held;
        let long = Arc::new(Long { seat: seat.clone(), held, begun, offered: AtomicU32::new(0) });
        table.long.insert(number, long.clone());
        Some(Admitted { answers: self.clone(), number, long })
    }

    /// Lets one sweep of time pass, and cuts the connections that do not take what is offered.
    pub fn sweep(&self) {
        let mut table = self.table();
        table.now += 1;
        let now = table.now;
        for long in table.long.values() {
            let offered = long.offered.load(Ordering::Relaxed);
            if offered > 0 && now - (offered - 1) >= sweeps(STALL_TIMEOUT) {
                long.seat.tell(Order::Cut, Some(Ended::Stall));
            }
        }
    }
}

impl Table {
    fn end(&mut self, number: u64) {
        if let Some(long) = self.long.remove(&number) {
            self.held -= long.held;
        }
    }
}

/// A long answer that has its room; given back when it is dropped.
pub struct Admitted {
    answers: Arc<Answers>,
    number: u64,
    long: Arc<Long>,
}

impl Admitted {
    fn offered(&self) {
        let now = self.answers.table().now;
        self.long.offered.store(1 + now, Ordering::Relaxed);
    }

    fn taken(&self) {
        self.long.offered.store(0, Ordering::Relaxed);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.answers.table().end(self.number);
    }
}

/// The body of an answer, on its way out.
pub struct Answer {
    body: Body,
    /// The rest of what the body gave.
    rest: Bytes,
    long: Option<Admitted>,
    _under_way: Option<UnderWay>,
}

impl Answer {
    /// `long`: what was admitted, if it had to be.
    pub fn new(body: Body, long: Option<Admitted>, under_way: UnderWay) -> Self {
        Self { body, rest: Bytes::new(), long, _under_way: Some(under_way) }
    }

    fn piece(&mut self) -> Frame<Bytes> {
        let length = self.rest.len().min(PIECE_BYTES);
        Frame::data(self.rest.split_to(length))
    }
}

/// Bytes an answer holds in memory, if it is long; `Some(0)`: its length is not known, it comes piece by piece.
pub fn held(body: &Body) -> Option<usize> {
    match body.size_hint().exact() {
        Some(length) => usize::try_from(length).ok().filter(|length| *length > PIECE_BYTES),
        None => Some(0),
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(long) = &self.long {
            long.taken();
        }
        let frame = if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    // In pieces: of a whole one nobody would know how much of it was taken.
                    Ok(data) if data.len() > PIECE_BYTES => {
                        self.rest = data;
                        self.piece()
                    }
                    Ok(data) => Frame::data(data),
                    Err(other) => other,
                },
                other => return other,
            }
        } else {
            self.piece()
        };
        if let Some(long) = &self.long {
            long.offered();
        }
        Poll::Ready(Some(Ok(frame)))
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

    #[tokio::test]
    async fn a_long_answer_is_sent_whole_and_in_pieces() {
        let (seats, answers) = (seats(), Arc::new(Answers::default()));
        let taken = taken(&seats);
        let bytes: Vec<u8> = (0..=250).cycle().take(3 * PIECE_BYTES + 5).collect();
        let body = Body::from(bytes.clone());
        let admitted = answers.admit(&taken.seat, held(&body).expect("it is long"));
        let mut answer = Answer::new(body, admitted, taken.seat.begin());
        let (mut sent, mut pieces) = (Vec::new(), 0);
        while let Some(frame) = answer.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= PIECE_BYTES);
            sent.extend_from_slice(&data);
            pieces += 1;
            assert_eq!(answer.size_hint().exact(), Some((bytes.len() - sent.len()) as u64));
        }
        assert_eq!((sent == bytes, pieces, answer.is_end_stream()), (true, 4, true));
        drop(answer);
        assert_eq!(answers.table().held, 0);
        assert_eq!(held(&Body::from("short")), None);
    }

    #[tokio::test]
    async fn who_holds_the_room_too_long_loses_it_to_others() {
        let (seats, answers) = (seats(), Arc::new(Answers::default()));
        let (slow, other) = (taken(&seats), taken(&seats));
        let held = answers.admit(&slow.seat, ROOM_BYTES - 10).unwrap();
        assert!(answers.admit(&other.seat, 11).is_none(), "it has just begun");
        assert!(answers.admit(&other.seat, 10).is_some(), "and there is room for this one");
        (0..sweeps(PEACE)).for_each(|_| answers.sweep());
        assert!(answers.admit(&other.seat, 11).is_some());
        assert!(is_cut(&slow.seat).await && !is_cut(&other.seat).await);
        drop(held);
        assert_eq!(answers.table().held, 0, "nothing is given back twice");
    }

    #[tokio::test]
    async fn a_piece_that_nobody_takes_ends_the_connection_and_an_answer_that_waits_for_us_does_not() {
        let (seats, answers) = (seats(), Arc::new(Answers::default()));
        let (stuck, ours) = (taken(&seats), taken(&seats));
        let body = Body::from(vec![0; 2 * PIECE_BYTES]);
        let mut answer = Answer::new(body, answers.admit(&stuck.seat, 1), stuck.seat.begin());
        let _ = answer.frame().await;
        let quiet = Body::new(Quiet);
        let mut waits = Answer::new(quiet, answers.admit(&ours.seat, 0), ours.seat.begin());
        let mut frame = std::pin::pin!(waits.frame());
        std::future::poll_fn(|context| Poll::Ready(frame.as_mut().poll(context).is_pending())).await;
        (1..sweeps(STALL_TIMEOUT)).for_each(|_| answers.sweep());
        assert!(!is_cut(&stuck.seat).await);
        answers.sweep();
        assert!(is_cut(&stuck.seat).await && !is_cut(&ours.seat).await);
    }
}
