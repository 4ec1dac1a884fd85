//! Who plays: people as they come from the weights of their generation, and what they teach and want to learn.
//! Never anybody real: nobody here has a name.

use mentorlog_events::event::Arm;
use mentorlog_events::id::{ParticipantId, Slug};
use mentorlog_events::time::Timestamp;

use super::chance::Chance;

/// The generations of the default policy, oldest first, and how many of a hundred are of each.
const GENERATIONS: [(usize, u64); 5] = [(0, 2), (1, 19), (2, 31), (3, 30), (4, 18)];

/// Their names.
pub const NAMES: [&str; 5] = ["silent", "boomer", "gen-x", "millennial", "gen-z"];

const UNITS: [(&str, u64); 6] =
    [("engineering", 30), ("operations", 24), ("sales", 18), ("finance", 12), ("people", 9), ("legal", 7)];

/// What can be taught, and how readily each generation offers and seeks it.
struct Topic {
    name: &'static str,
    offered: [u64; 5],
    sought: [u64; 5],
}

const fn topic(name: &'static str, offered: [u64; 5], sought: [u64; 5]) -> Topic {
    Topic { name, offered, sought }
}

/// Came up while the program was under way: everybody seeks it, and few offer it.
pub const NEWCOMER: &str = "llm-prompting";

/// Was offered by some, sought by nobody, and taken from the list.
pub const HAS_BEEN: &str = "blockchain";

const TOPICS: [Topic; 19] = [
    topic("python", [0, 1, 3, 7, 9], [0, 3, 5, 4, 2]),
    topic("data-analysis", [0, 1, 4, 7, 6], [1, 4, 6, 4, 2]),
    topic("cloud-security", [0, 0, 2, 3, 1], [0, 3, 6, 7, 4]),
    topic(NEWCOMER, [0, 0, 1, 3, 7], [3, 8, 9, 6, 3]),
    topic("git", [0, 0, 2, 6, 7], [0, 2, 2, 1, 1]),
    topic("video-editing", [0, 0, 1, 3, 8], [0, 2, 2, 1, 1]),
    topic("social-media", [0, 1, 1, 4, 9], [2, 4, 3, 1, 0]),
    topic("dashboards", [0, 1, 3, 6, 5], [0, 3, 4, 3, 1]),
    topic("spreadsheets", [1, 3, 5, 3, 1], [1, 1, 1, 1, 2]),
    topic("negotiation", [4, 8, 6, 2, 0], [0, 0, 2, 6, 6]),
    topic("public-speaking", [3, 6, 6, 3, 1], [0, 1, 2, 6, 7]),
    topic("stakeholder-management", [3, 8, 7, 2, 0], [0, 0, 2, 6, 4]),
    topic("leadership", [4, 7, 7, 2, 0], [0, 1, 3, 7, 4]),
    topic("career-planning", [3, 6, 6, 3, 1], [0, 0, 1, 5, 9]),
    topic("budgeting", [3, 6, 5, 1, 0], [0, 0, 1, 3, 2]),
    topic("conflict-resolution", [3, 5, 5, 2, 1], [0, 0, 2, 4, 3]),
    topic("regulatory-affairs", [5, 8, 4, 1, 0], [0, 0, 1, 2, 1]),
    topic("technical-writing", [2, 4, 4, 4, 2], [0, 1, 2, 3, 4]),
    topic(HAS_BEEN, [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]),
];

/// The skills the program begins with.
pub fn first_skills() -> impl Iterator<Item = &'static str> {
    TOPICS.iter().map(|topic| topic.name).filter(|name| *name != NEWCOMER)
}

/// A slug of a text that is one.
pub fn slug(text: &str) -> Slug {
    text.parse().expect("the story's words are slugs")
}

/// The slugs of several texts.
pub fn slugs(texts: &[&str]) -> Vec<Slug> {
    texts.iter().copied().map(slug).collect()
}

/// Where somebody stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not yet there.
    Expected,
    /// Enrolled.
    Enrolled,
    /// On a break.
    OnBreak,
    /// Left the program, or the organisation.
    Gone,
}

/// Somebody of the story.
pub struct Person {
    /// Their id.
    pub id: ParticipantId,
    /// Index of their generation, 0 the oldest.
    pub generation: usize,
    /// Part of the organisation.
    pub unit: &'static str,
    /// What they can teach; at least one.
    pub offered: Vec<&'static str>,
    /// What they want to learn; at least one.
    pub sought: Vec<&'static str>,
    /// Takes part, or is only observed.
    pub arm: Arm,
    /// Where they stand, as far as the program knows.
    pub standing: Standing,
    /// Since when they have in truth been gone, which the program learns later.
    pub gone_at: Option<Timestamp>,
    /// A limit of open pairs of their own.
    pub capacity: Option<u32>,
    /// How much they do, in thousandths of what most do.
    pub zeal: u64,
    /// The service they use: through another one a confirmation is worth more.
    pub channel: &'static str,
    /// The program's office writes for them.
    pub assisted: bool,
}

impl Person {
    /// Somebody as chance has it.
    pub fn new(chance: &mut Chance, arm: Arm, newcomer_known: bool) -> Self {
        let generation = chance.weighted(&GENERATIONS);
        let topics = || TOPICS.iter().filter(|topic| topic.name != NEWCOMER || newcomer_known);
        let offers: Vec<_> = topics().map(|topic| (topic.name, topic.offered[generation])).collect();
        let seeks: Vec<_> = topics().map(|topic| (topic.name, topic.sought[generation])).collect();
        let many = |chance: &mut Chance, weights: &[(&'static str, u64)], not: &[&str]| {
            let count = chance.between(2, 4);
            let mut taken: Vec<&'static str> = Vec::new();
            // A skill drawn twice is one skill: some offer less than others.
            for _ in 0..count {
                let one = chance.weighted(weights);
                if !taken.contains(&one) && !not.contains(&one) {
                    taken.push(one);
                }
            }
            if taken.is_empty() {
                let left = weights.iter().filter(|(name, weight)| *weight > 0 && !not.contains(name));
                taken.extend(left.map(|(name, _)| *name).next());
            }
            taken
        };
        let offered = many(chance, &offers, &[]);
        let sought = many(chance, &seeks, &offered);
        Self {
            id: ParticipantId(chance.uuid()),
            generation,
            unit: chance.weighted(&UNITS),
            offered,
            sought,
            arm,
            standing: Standing::Expected,
            gone_at: None,
            capacity: None,
            zeal: 500 + chance.below(501) + chance.below(501),
            channel: chance.weighted(&[("mentor-app", 6), ("chat-bot", 4)]),
            assisted: chance.happens(60),
        }
    }

    /// Neither offers nor seeks it any more.
    pub fn forget(&mut self, skill: &str) {
        self.offered.retain(|offered| *offered != skill);
        self.sought.retain(|sought| *sought != skill);
        if self.offered.is_empty() {
            // Who knew nothing else has learned something meanwhile.
            self.offered.push("git");
            self.sought.retain(|sought| *sought != "git");
        }
    }

    /// Whether they are there to do something, whatever the program knows.
    pub fn is_there(&self) -> bool {
        self.gone_at.is_none() && matches!(self.standing, Standing::Enrolled | Standing::OnBreak)
    }

    /// Whether they can begin a pair.
    pub fn can_pair(&self) -> bool {
        self.gone_at.is_none() && self.standing == Standing::Enrolled && self.arm == Arm::Program
    }

    /// What this person could teach the other: what the other seeks, else anything.
    pub fn could_teach(&self, other: &Self) -> Vec<&'static str> {
        let wanted: Vec<_> =
            self.offered.iter().copied().filter(|skill| other.sought.contains(skill)).collect();
        if wanted.is_empty() { self.offered.clone() } else { wanted }
    }

    /// How many of the things the other seeks this person offers.
    pub fn meets(&self, other: &Self) -> u32 {
        let met = self.offered.iter().filter(|skill| other.sought.contains(skill)).count();
        u32::try_from(met).unwrap_or(u32::MAX)
    }
}
