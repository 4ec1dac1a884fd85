//! Who is connected, what each connection is doing, and which one has to give way or to end.
//! Never reads a clock: time is counted in sweeps, so that a machine that slept cuts nobody for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::counts::{Counts, Ended};
use super::heads::HeadScan;

/// How often every connection is looked at.
pub const SWEEP: Duration = Duration::from_millis(500);

/// How long the head of a request may take to arrive, also the first one of a connection.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may wait for its next request.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a client may take for each [`TAKEN_BYTES_MIN`] of an answer.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// What a client has to take of an answer within [`STALL_TIMEOUT`].
pub const TAKEN_BYTES_MIN: u32 = 64 * 1024;

/// How long a connection lives before it is told to finish, so that none is there for ever.
pub const LIFETIME: Duration = Duration::from_hours(1);

/// How much longer what is under way then may go on.
pub const LIFETIME_GRACE: Duration = Duration::from_mins(10);

/// How long a connection that was told to finish may go on without a request.
const FINISHING: Duration = Duration::from_secs(1);

/// A time in sweeps.
#[allow(clippy::cast_possible_truncation, reason = "seconds to hours")]
pub(super) const fn sweeps(time: Duration) -> u32 {
    (time.as_millis() / SWEEP.as_millis()) as u32
}

/// Where connections come from: an IPv4 address, or the 64 bits of an IPv6 address that one customer has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(u64, bool);

impl Network {
    /// The network of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u32::from(v4).into(), true),
            IpAddr::V6(v6) => Self((u128::from(v6) >> 64) as u64, false),
        }
    }
}

/// What a connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Go on.
    Stay,
    /// Answer what is under way, take nothing more, end.
    Finish,
    /// End now.
    Cut,
}

impl Order {
    fn read(order: &AtomicU8) -> Self {
        match order.load(Ordering::Acquire) {
            0 => Self::Stay,
            1 => Self::Finish,
            _ => Self::Cut,
        }
    }
}

/// What all seats share.
#[derive(Default)]
struct Shared {
    /// Sweeps so far.
    clock: AtomicU32,
    counts: Counts,
}

/// What one connection is doing.
pub struct Seat {
    shared: Arc<Shared>,
    number: u64,
    peer: SocketAddr,
    network: Network,
    taken_at: u32,
    /// Requests whose answers are not written yet.
    under_way: AtomicU32,
    /// Whether a request was ever read here.
    served: AtomicBool,
    /// Since when nothing is under way.
    quiet_since: AtomicU32,
    /// 1 + since when the bytes of a head are arriving; 0: none are.
    head_since: AtomicU32,
    /// 1 + since when the client does not take what is written; 0: it does.
    blocked_since: AtomicU32,
    /// What it has taken since.
    taken_bytes: AtomicU32,
    /// 1 + when it was told to finish; 0: it was not.
    told_at: AtomicU32,
    order: AtomicU8,
    told: Notify,
    head: Mutex<HeadScan>,
}

impl Seat {
    /// Where the connection comes from.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Where it comes from, as far as limits go.
    pub fn network(&self) -> Network {
        self.network
    }

    /// What has been seen of the head that is arriving.
    pub fn head(&self) -> MutexGuard<'_, HeadScan> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was read. It is under way until what is returned is dropped.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        self.served.store(true, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// Whether no request is under way: what arrives belongs to the head of the next one.
    pub fn is_between(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }

    /// Bytes arrived.
    pub fn heard(&self) {
        if self.under_way.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(1 + self.now(), Ordering::Relaxed);
        }
    }

    /// The client took none of what was offered.
    pub fn blocked(&self) {
        if self.blocked_since.load(Ordering::Relaxed) == 0 {
            self.taken_bytes.store(0, Ordering::Relaxed);
            self.blocked_since.store(1 + self.now(), Ordering::Relaxed);
        }
    }

    /// The client took so much of what was offered.
    pub fn took(&self, bytes: usize, offered: usize) {
        if self.blocked_since.load(Ordering::Relaxed) == 0 {
            return;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let taken = self.taken_bytes.load(Ordering::Relaxed).saturating_add(bytes);
        if taken >= TAKEN_BYTES_MIN || bytes as usize == offered {
            self.blocked_since.store(0, Ordering::Relaxed);
        } else {
            self.taken_bytes.store(taken, Ordering::Relaxed);
        }
    }

    /// Tells the connection what to do; it never hears less than it was told before. `why`: for the scrape, the first
    /// time; `None` when the service ends.
    pub fn tell(&self, order: Order, why: Option<Ended>) {
        let before = self.order.fetch_max(order as u8, Ordering::AcqRel);
        if before >= order as u8 {
            return;
        }
        if before == Order::Stay as u8 {
            self.told_at.store(1 + self.now(), Ordering::Relaxed);
            if let Some(why) = why {
                self.shared.counts.ended(why);
            }
        }
        self.told.notify_one();
    }

    /// Waits for the next order.
    pub async fn told(&self) -> Order {
        self.told.notified().await;
        Order::read(&self.order)
    }

    fn now(&self) -> u32 {
        self.shared.clock.load(Ordering::Relaxed)
    }

    fn doing(&self, now: u32) -> Doing {
        let since = |stamp: &AtomicU32| {
            let stamp = stamp.load(Ordering::Relaxed);
            (stamp > 0).then(|| now.saturating_sub(stamp - 1))
        };
        Doing {
            under_way: self.under_way.load(Ordering::Acquire),
            served: self.served.load(Ordering::Relaxed),
            age: now.saturating_sub(self.taken_at),
            quiet: now.saturating_sub(self.quiet_since.load(Ordering::Relaxed)),
            head: since(&self.head_since),
            blocked: since(&self.blocked_since),
            told: since(&self.told_at),
        }
    }
}

/// A seat that is taken; given back when this is dropped.
pub struct Taken {
    seats: Arc<Seats>,
    /// The seat.
    pub seat: Arc<Seat>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut table = self.seats.table();
        // Whoever had to give way is not among the others any more.
        if table.seats.remove(&self.seat.number).is_some() {
            table.leave(self.seat.network);
        } else {
            table.leaving.remove(&self.seat.number);
        }
        if table.is_empty() {
            self.seats.emptied.notify_waiters();
        }
    }
}

/// A request that is under way; dropped when its answer is written or given up.
pub struct UnderWay(Arc<Seat>);

impl UnderWay {
    /// The connection it came on.
    pub fn seat(&self) -> &Arc<Seat> {
        &self.0
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let seat = &self.0;
        // Stamped before it counts as quiet.
        seat.quiet_since.store(seat.now(), Ordering::Relaxed);
        seat.head().forget();
        seat.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a connection does, in sweeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Doing {
    under_way: u32,
    served: bool,
    age: u32,
    /// Since the last answer was written; counts when nothing is under way.
    quiet: u32,
    head: Option<u32>,
    blocked: Option<u32>,
    told: Option<u32>,
}

impl Doing {
    /// What to do about it, and why; `None`: nothing.
    fn order(self) -> Option<(Order, Ended)> {
        let over = |time: Option<u32>, limit: Duration| time.is_some_and(|time| time >= sweeps(limit));
        if over(self.blocked, STALL_TIMEOUT) {
            return Some((Order::Cut, Ended::Stall));
        }
        if self.age >= sweeps(LIFETIME) + sweeps(LIFETIME_GRACE) {
            return Some((Order::Cut, Ended::Age));
        }
        if self.under_way == 0 {
            let silent = !self.served && self.quiet >= sweeps(HEADER_TIMEOUT);
            if silent || over(self.head, HEADER_TIMEOUT) {
                return Some((Order::Cut, Ended::Head));
            }
            if over(self.told, FINISHING) {
                return Some((Order::Cut, Ended::Idle));
            }
            if self.quiet >= sweeps(IDLE_TIMEOUT) {
                return Some((Order::Finish, Ended::Idle));
            }
        }
        (self.age >= sweeps(LIFETIME)).then_some((Order::Finish, Ended::Age))
    }
}

struct Table {
    /// By number: in the order they came.
    seats: BTreeMap<u64, Arc<Seat>>,
    /// Those that had to give way and are not gone yet.
    leaving: BTreeSet<u64>,
    networks: HashMap<Network, usize>,
    next: u64,
}

impl Table {
    fn leave(&mut self, network: Network) {
        if let Some(count) = self.networks.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&network);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.leaving.is_empty()
    }

    /// Makes the connections give way that have waited longest without a request; first those that never had one.
    /// Several at once, so that looking through all of them is worth it. `None`: each has a request under way.
    fn make_room(&mut self, now: u32, of: Option<Network>, among: usize) -> Option<()> {
        let mut idle: Vec<(bool, u32, Arc<Seat>)> = self
            .seats
            .values()
            .filter(|seat| of.is_none_or(|network| seat.network == network))
            .filter_map(|seat| {
                let doing = seat.doing(now);
                (doing.under_way == 0).then(|| (doing.served, u32::MAX - doing.quiet, seat.clone()))
            })
            .collect();
        // Stable: of the same age, the one that came first.
        idle.sort_by_key(|(served, age, _)| (*served, *age));
        let few = (among / 64).max(1);
        let mut made = None;
        for (_, _, seat) in idle.iter().take(few) {
            self.seats.remove(&seat.number);
            self.leaving.insert(seat.number);
            self.leave(seat.network);
            seat.tell(Order::Cut, Some(Ended::GaveWay));
            made = Some(());
        }
        made
    }
}

/// Connections at once when nothing else is said.
pub const CONNECTIONS_MAX: u32 = 4096;

/// How many may be connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Most connections at once.
    pub connections: usize,
    /// Most of one peer: an IPv4 address or an IPv6 /64. `None`: a quarter of all, and no limit for this machine
    /// itself, where a proxy would be.
    pub per_peer: Option<usize>,
}

impl Default for Room {
    fn default() -> Self {
        Self { connections: CONNECTIONS_MAX as usize, per_peer: None }
    }
}

/// Every connection there is.
pub struct Seats {
    table: Mutex<Table>,
    shared: Arc<Shared>,
    room: Room,
    emptied: Notify,
}

impl Seats {
    /// No connection yet.
    pub fn new(room: Room) -> Arc<Self> {
        let table =
            Table { seats: BTreeMap::new(), leaving: BTreeSet::new(), networks: HashMap::new(), next: 0 };
        Arc::new(Self { table: Mutex::new(table), shared: Arc::default(), room, emptied: Notify::new() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sweeps so far.
    fn now(&self) -> u32 {
        self.shared.clock.load(Ordering::Relaxed)
    }

    /// What was accepted, turned away and ended.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Most connections at once.
    pub fn most(&self) -> usize {
        self.room.connections
    }

    /// Gives a connection its seat. When all are taken, or all that its peer may have, those give way that have
    /// waited longest without a request. `None`: nobody can; every one of them has a request under way.
    pub fn take(self: &Arc<Self>, peer: SocketAddr) -> Option<Taken> {
        let network = Network::of(peer.ip());
        let per_peer = match self.room.per_peer {
            Some(most) => most,
            None if peer.ip().to_canonical().is_loopback() => usize::MAX,
            None => (self.room.connections / 4).max(1),
        };
        let now = self.now();
        let mut table = self.table();
        if table.networks.get(&network).is_some_and(|count| *count >= per_peer) {
            table.make_room(now, Some(network), per_peer)?;
        }
        if table.seats.len() >= self.room.connections {
            table.make_room(now, None, self.room.connections)?;
        }
        let number = table.next;
        table.next += 1;
        *table.networks.entry(network).or_default() += 1;
        let seat = Arc::new(Seat {
            shared: self.shared.clone(),
            number,
            peer,
            network,
            taken_at: now,
            under_way: AtomicU32::new(0),
            served: AtomicBool::new(false),
            quiet_since: AtomicU32::new(now),
            head_since: AtomicU32::new(0),
            blocked_since: AtomicU32::new(0),
            taken_bytes: AtomicU32::new(0),
            told_at: AtomicU32::new(0),
            order: AtomicU8::new(Order::Stay as u8),
            told: Notify::new(),
            head: Mutex::default(),
        });
        table.seats.insert(number, seat.clone());
        Some(Taken { seats: self.clone(), seat })
    }

    /// Makes room without anybody waiting for it, e.g. because no more files can be opened.
    pub fn make_room(&self) {
        let _ = self.table().make_room(self.now(), None, self.room.connections);
    }

    fn all(&self) -> Vec<Arc<Seat>> {
        self.table().seats.values().cloned().collect()
    }

    /// Lets one sweep of time pass, and tells those whose time is up.
    pub fn sweep(&self) {
        let now = self.shared.clock.fetch_add(1, Ordering::Relaxed) + 1;
        for seat in self.all() {
            if let Some((order, why)) = seat.doing(now).order() {
                seat.tell(order, Some(why));
            }
        }
    }

    /// Tells everybody: the service ends.
    pub fn tell(&self, order: Order) {
        self.all().iter().for_each(|seat| seat.tell(order, None));
    }

    /// Connections at present.
    pub fn count(&self) -> usize {
        self.table().seats.len()
    }

    /// Ready when nobody is connected.
    pub async fn empty(&self) {
        let mut emptied = std::pin::pin!(self.emptied.notified());
        loop {
            // Enabled before looking: what happens in between is not missed.
            emptied.as_mut().enable();
            if self.table().is_empty() {
                return;
            }
            emptied.as_mut().await;
            emptied.set(self.emptied.notified());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(connections: usize, per_peer: Option<usize>) -> Arc<Seats> {
        Seats::new(Room { connections, per_peer })
    }

    impl std::ops::Deref for Taken {
        type Target = Arc<Seat>;

        fn deref(&self) -> &Arc<Seat> {
            &self.seat
        }
    }

    fn take(seats: &Arc<Seats>, last: u8) -> Option<Taken> {
        seats.take(SocketAddr::from(([10, 0, 0, last], 4711)))
    }

    fn pass(seats: &Seats, time: Duration) {
        (0..sweeps(time)).for_each(|_| seats.sweep());
    }

    fn order(seat: &Seat) -> Order {
        Order::read(&seat.order)
    }

    #[test]
    fn who_waits_longest_without_a_request_gives_way() {
        let seats = seats(4, Some(4));
        let [silent, served, busy, late] = [1, 2, 3, 4].map(|last| take(&seats, last).unwrap());
        drop(served.begin());
        let _under_way = busy.begin();
        seats.sweep();
        late.heard();
        let first = take(&seats, 5).expect("somebody gave way");
        assert_eq!(
            [&silent, &served, &busy, &late].map(|seat| order(seat)),
            [Order::Cut, Order::Stay, Order::Stay, Order::Stay]
        );
        let more = [take(&seats, 6), take(&seats, 7), take(&seats, 8)].map(Option::unwrap);
        // Those that never had a request go before the one that waits for its next.
        assert_eq!(
            [&late, &first, &more[0], &served].map(|seat| order(seat)),
            [Order::Cut, Order::Cut, Order::Cut, Order::Stay]
        );
        assert_eq!(order(&busy), Order::Stay);
        assert_eq!(seats.count(), 4);
    }

    #[test]
    fn whoever_has_a_request_under_way_does_not_give_way() {
        let seats = seats(2, Some(2));
        let held = [take(&seats, 1).unwrap(), take(&seats, 2).unwrap()];
        let mut requests = held.each_ref().map(|seat| Some(seat.begin()));
        assert!(take(&seats, 3).is_none());
        requests[1] = None;
        assert!(take(&seats, 3).is_some());
        assert_eq!([order(&held[0]), order(&held[1])], [Order::Stay, Order::Cut]);
    }

    #[test]
    fn a_peer_takes_its_own_seats_and_not_those_of_others() {
        let seats = seats(8, Some(2));
        let other = take(&seats, 9).unwrap();
        let mine: Vec<_> = (0..5).map(|_| take(&seats, 1).unwrap()).collect();
        assert_eq!(mine.iter().filter(|seat| order(seat) == Order::Stay).count(), 2);
        assert_eq!(order(&other), Order::Stay);
        // One customer of IPv6 is one peer, however many addresses it has.
        let v6 = |last: u16| SocketAddr::new(IpAddr::V6([0x2001, 0xdb8, 0, 1, 0, 0, 0, last].into()), 1);
        let held: Vec<_> = (0..3).map(|n| seats.take(v6(n)).unwrap()).collect();
        assert_eq!(order(&held[0]), Order::Cut);
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(Network::of(mapped), Network::of([10, 0, 0, 1].into()));
    }

    #[test]
    fn without_a_number_this_machine_has_no_limit_of_its_own() {
        let seats = seats(8, None);
        let here: Vec<_> =
            (0..8).map(|n| seats.take(SocketAddr::from(([127, 0, 0, 1], n))).unwrap()).collect();
        assert!(here.iter().all(|seat| order(seat) == Order::Stay));
        drop(here);
        let there: Vec<_> = (0..8).map(|_| take(&seats, 1).unwrap()).collect();
        assert_eq!(there.iter().filter(|seat| order(seat) == Order::Stay).count(), 2);
    }

    #[test]
    fn a_head_that_dribbles_in_is_cut_and_so_is_silence() {
        let seats = seats(8, None);
        let [silent, dribbling, served] = [1, 2, 3].map(|last| take(&seats, last).unwrap());
        drop(served.begin());
        pass(&seats, HEADER_TIMEOUT / 2);
        dribbling.heard();
        served.heard();
        pass(&seats, (HEADER_TIMEOUT / 2).checked_sub(SWEEP).unwrap());
        assert_eq!([&silent, &dribbling, &served].map(|seat| order(seat)), [Order::Stay; 3]);
        served.heard();
        seats.sweep();
        assert_eq!(
            [&silent, &dribbling, &served].map(|seat| order(seat)),
            [Order::Cut, Order::Cut, Order::Stay]
        );
        pass(&seats, HEADER_TIMEOUT / 2);
        assert_eq!(order(&served), Order::Cut, "its second head does no better");
    }

    #[test]
    fn a_connection_between_requests_is_ended_when_it_idles() {
        let seats = seats(8, None);
        let (idle, working) = (take(&seats, 1).unwrap(), take(&seats, 2).unwrap());
        drop(idle.begin());
        let request = working.begin();
        pass(&seats, IDLE_TIMEOUT.checked_sub(SWEEP).unwrap());
        assert_eq!(order(&idle), Order::Stay);
        seats.sweep();
        assert_eq!((order(&idle), order(&working)), (Order::Finish, Order::Stay));
        pass(&seats, FINISHING);
        assert_eq!(order(&idle), Order::Cut, "it did not go by itself");
        drop(request);
        seats.sweep();
        assert_eq!(order(&working), Order::Stay);
    }

    #[test]
    fn who_takes_nothing_of_an_answer_is_cut_and_who_takes_it_slowly_enough_too() {
        let seats = seats(8, None);
        let [stuck, slow, quick, done] = [1, 2, 3, 4].map(|last| take(&seats, last).unwrap());
        let _requests = [&stuck, &slow, &quick, &done].map(|seat| seat.begin());
        for seat in [&stuck, &slow, &quick, &done] {
            seat.blocked();
        }
        for _ in 0..sweeps(STALL_TIMEOUT) {
            slow.took(100, 1_000_000);
            slow.blocked();
            quick.took(TAKEN_BYTES_MIN as usize / 8, 1_000_000);
            quick.blocked();
            done.took(100, 100);
            seats.sweep();
        }
        let orders = [&stuck, &slow, &quick, &done].map(|seat| order(seat));
        assert_eq!(orders, [Order::Cut, Order::Cut, Order::Stay, Order::Stay]);
    }

    #[test]
    fn no_connection_is_there_for_ever() {
        let seats = seats(8, None);
        let seat = take(&seats, 1).unwrap();
        let _request = seat.begin();
        pass(&seats, LIFETIME);
        assert_eq!(order(&seat), Order::Finish);
        pass(&seats, LIFETIME_GRACE);
        assert_eq!(order(&seat), Order::Cut);
    }

    #[tokio::test]
    async fn the_last_one_out_is_noticed() {
        let seats = seats(1, None);
        let first = take(&seats, 1).unwrap();
        let second = take(&seats, 2).unwrap();
        drop(second);
        {
            let mut empty = std::pin::pin!(seats.empty());
            let ready = std::future::poll_fn(|context| std::task::Poll::Ready(empty.as_mut().poll(context)));
            assert!(ready.await.is_pending(), "the one that gave way is still there");
            drop(first);
            empty.await;
        }
        assert_eq!(seats.count(), 0);
    }
}
