//! Words that occur again and again, held once; and what each skill adds up to.
//! Never forgets a word.

use mentorlog_events::entry::Principal;
use mentorlog_events::id::Slug;
use serde::Serialize;

use crate::rows::{Secret, Slots};

/// Words as numbers, in the order of their first occurrence.
#[derive(Debug, Clone)]
pub(crate) struct Words<T> {
    all: Vec<T>,
    numbers: Slots,
    secret: Secret,
}

impl<T> Default for Words<T> {
    fn default() -> Self {
        Self { all: Vec::new(), numbers: Slots::default(), secret: Secret::default() }
    }
}

/// What is held once and numbered.
pub(crate) trait Word: Clone + Eq {
    fn text(&self) -> &str;
}

impl Word for Slug {
    fn text(&self) -> &str {
        self.as_str()
    }
}

impl Word for Principal {
    fn text(&self) -> &str {
        self.as_str()
    }
}

impl<T: Word> Words<T> {
    pub(crate) fn number(&mut self, word: &T) -> u32 {
        let hash = self.secret.text(word.text());
        if let Some(number) = self.numbers.find(hash, |number| self.word(number) == word) {
            return number;
        }
        let number = u32::try_from(self.all.len()).expect("memory ends before 2^32 words");
        self.all.push(word.clone());
        self.numbers.insert(hash, number, |_| false);
        number
    }

    pub(crate) fn find(&self, word: &T) -> Option<u32> {
        self.numbers.find(self.secret.text(word.text()), |number| self.word(number) == word)
    }

    /// The word of a number that [`Words::number`] gave.
    pub(crate) fn word(&self, number: u32) -> &T {
        &self.all[number as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}

/// Whether a skill is on the program's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Listing {
    /// It was only ever named.
    #[default]
    Unlisted,
    /// It is on the list.
    Defined,
    /// It was on the list.
    Retired,
}

/// What the live sessions say of a skill, and the people.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Skill {
    pub(crate) listing: Listing,
    pub(crate) exchanges: u64,
    pub(crate) minutes: u64,
    /// People, enrolled or on a break, who offer it.
    pub(crate) offered: u64,
    /// People, enrolled or on a break, who seek it.
    pub(crate) sought: u64,
    /// Those of the seekers who learned it in live sessions of pairs that count.
    pub(crate) fulfilled: u64,
}

/// One skill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SkillView {
    /// The skill.
    pub skill: Slug,
    /// Whether it is on the list.
    pub listing: Listing,
    /// Participants, enrolled or on a break, who offer it.
    pub offered: u64,
    /// Participants, enrolled or on a break, who seek it.
    pub sought: u64,
    /// Exchanges of it in live sessions.
    pub exchanges: u64,
    /// Minutes of these.
    pub minutes: u64,
}
