//! Chance that can be told again: one seed, one sequence, on every machine and for ever.
//! Never asks the operating system, and never reckons with floats, which differ between machines.

use uuid::Uuid;

/// splitmix64 (Steele, Lea and Flood 2014).
pub struct Chance(u64);

impl Chance {
    /// The sequence of this seed.
    pub const fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end` - 1; `end` is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number from `least` to `most`.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        let span = u64::try_from(most - least + 1).expect("the greater number is the second");
        least + i64::try_from(self.below(span)).expect("no greater than the span of two numbers")
    }

    /// A place in a list of so many; the list is not empty.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("it is below a usize")
    }

    /// Whether something happens that happens so many times in a thousand.
    pub fn happens(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// One of several; there is at least one.
    pub fn one_of<T: Copy>(&mut self, several: &[T]) -> T {
        several[self.index(several.len())]
    }

    /// One of several, each as likely as it weighs; at least one weighs something.
    pub fn weighted<T: Copy>(&mut self, several: &[(T, u64)]) -> T {
        let mut left = self.below(several.iter().map(|(_, weight)| weight).sum());
        for (one, weight) in several {
            if left < *weight {
                return *one;
            }
            left -= weight;
        }
        unreachable!("what is left is below the sum of the weights")
    }

    /// How many days pass before something happens that happens on one day in `mean`.
    pub fn days(&mut self, mean: u64) -> i64 {
        let mut days = 1;
        while self.below(mean) != 0 {
            days += 1;
        }
        days
    }

    /// A random UUID (version 4).
    pub fn uuid(&mut self) -> Uuid {
        let bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}
