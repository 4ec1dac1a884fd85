//! What is drawn adds up to the figures it stands beside, on every day; and listings leave nobody out.

use super::*;
use crate::listings::{PairOrder, PairsAsked, PeopleAsked, PeopleOrder};
use crate::reciprocity::Asked;

/// Every day a story of theirs may lie on, and some around it.
fn days() -> impl Iterator<Item = Day> {
    (-5..400).step_by(3).map(|day| on(day).1)
}

#[test]
fn balances_are_of_the_pairs_of_the_figures() {
    let models = check(&story());
    let mut seen = 0;
    for day in days() {
        let asked = Asked::as_of(day);
        let (figures, balances) = (models.reciprocity(asked).figures, models.balances(asked));
        let share = figures.two_way_pair_share;
        assert_eq!(balances.pairs(), share.denominator, "{day}");
        let one_way = balances.classes[0].enough + balances.classes[0].few;
        assert_eq!(one_way, share.denominator - share.numerator, "{day}");
        seen = seen.max(balances.pairs());
    }
    assert!(seen > 0, "the story has pairs with minutes");
}

#[test]
fn the_close_of_a_month_is_what_the_figure_was_on_its_last_day() {
    let models = check(&story());
    let mut seen = 0;
    for day in days() {
        let months = models.months(day, usize::MAX);
        for month in &months {
            let then = models.reciprocity(Asked::as_of(month.close));
            assert_eq!(
                month.two_way_pair_share, then.figures.two_way_pair_share,
                "{} as of {day}",
                month.month
            );
        }
        let all = models.reciprocity(Asked::as_of(day));
        assert_eq!(months.iter().map(|month| month.sessions).sum::<u64>(), all.sessions, "{day}");
        assert_eq!(
            months.iter().map(|month| month.minutes).sum::<u64>(),
            all.flow.iter().map(|cell| cell.minutes).sum::<u64>(),
            "{day}"
        );
        assert!(models.months(day, 1).len() <= 1);
        seen = seen.max(months.len());
    }
    assert!(seen > 1, "the story lasts more than a month");
}

#[test]
fn a_listing_has_everything_once_in_whatever_order() {
    let models = check(&story());
    let today = on(300).1;
    let all = models.pairs(PairFilter::default(), None, usize::MAX, today).unwrap().items;
    assert!(all.len() > 2);
    for order in PairOrder::ALL {
        let mut listed = Vec::new();
        loop {
            let asked = PairsAsked { order, offset: listed.len(), limit: 2, ..PairsAsked::default() };
            let page = models.list_pairs(asked, today);
            assert_eq!(page.total, all.len() as u64);
            if page.items.is_empty() {
                break;
            }
            listed.extend(page.items);
        }
        let ids = |pairs: &[PairView]| pairs.iter().map(|pair| pair.pair).collect::<BTreeSet<_>>();
        assert_eq!((listed.len(), ids(&listed)), (all.len(), ids(&all)), "{order:?}");
    }
    let stalled = PairsAsked { stalled: true, limit: usize::MAX, ..PairsAsked::default() };
    let stalled = models.list_pairs(stalled, today).items;
    assert!(stalled.iter().all(|pair| pair.stalled));
    assert_eq!(stalled.len(), all.iter().filter(|pair| pair.stalled).count());
    let people = models.participants(None, usize::MAX).unwrap().items;
    for order in PeopleOrder::ALL {
        let asked = PeopleAsked { order, limit: usize::MAX, ..PeopleAsked::default() };
        let listed = models.list_people(&asked).items;
        let ids = |people: &[crate::participants::ParticipantView]| {
            people.iter().map(|one| one.participant).collect::<BTreeSet<_>>()
        };
        assert_eq!((listed.len(), ids(&listed)), (people.len(), ids(&people)), "{order:?}");
    }
    let nobody =
        PeopleAsked { generation: Some(slug("no-such-generation")), limit: 9, ..PeopleAsked::default() };
    assert_eq!(models.list_people(&nobody).total, 0);
}

#[test]
fn those_idle_longest_come_first() {
    let models = check(&story());
    let today = on(300).1;
    let asked = PairsAsked { state: Some(PairState::Active), limit: 99, ..PairsAsked::default() };
    let idle: Vec<u32> = models
        .list_pairs(asked, today)
        .items
        .iter()
        .filter_map(|pair| models.idle_days(pair.pair, today))
        .collect();
    assert!(idle.is_sorted_by(|one, next| one >= next), "{idle:?}");
}
