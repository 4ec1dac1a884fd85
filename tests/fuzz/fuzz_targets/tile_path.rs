//! Request paths of tiles: whatever is read is written the same, and its place can be asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mentorlog::ledger::tiles::TilePath;

fuzz_target!(|path: &str| {
    if let Ok(tile) = path.parse::<TilePath>() {
        assert_eq!(tile.to_string(), path);
        for size in [0, 1, 255, 256, 70_000, u64::MAX] {
            if tile.is_within(size) {
                assert!(tile.first() < size);
            }
        }
    }
});
