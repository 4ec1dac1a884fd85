//! How mutual a program is: between pairs, between generations, over time, and of which skills.
//! Never ranks anybody, and never colours even as good and uneven as bad.

use maud::{Markup, html};
use mentorlog_projections::mutuality::{Balances, MonthOf};
use mentorlog_projections::reciprocity::{Reciprocity, SkillFlow};

use super::charts::{self, Column, Demand, Flow, Shares, swatch};
use super::frame::{self, Counted, Drawing, Here, cell, empty, figure, none, number, stat, table};
use super::numbers::{
    NOTHING, count, generation, hours, month, month_tick, of, percent, time, title, whole_percent,
};

/// Skills that are drawn; the table has more.
const DRAWN_MAX: usize = 16;

/// Skills in the table.
const SKILLS_MAX: usize = 100;

/// The page.
pub fn page(here: &Here, measured: &Reciprocity, balances: &Balances, months: &[MonthOf]) -> Markup {
    let figures = &measured.figures;
    let events = here.link("/history", &[("behind", "reciprocity")]);
    let events = Some(events.as_str());
    let time_to = &measured.time_to_reciprocation;
    let main = html! {
        h1 { "Reciprocity" }
        p.lead {
            @if measured.sessions == 0 {
                "No session that counts was recorded up to this day, so nothing flowed in either direction yet."
            } @else {
                "Of what was taught in " (of(measured.sessions, "session", "sessions")) ", "
                strong { (percent(figures.weighted_reciprocity.value)) } " came back within the pair, and "
                strong { (percent(figures.two_way_pair_share.value)) } " of pairs teach both ways."
            }
        }
        dl.stats {
            (stat(Counted { name: "Weighted reciprocity", definition: "weighted-reciprocity", unit: "minutes" }, &figures.weighted_reciprocity, events))
            (stat(Counted { name: "Two-way pairs", definition: "two-way-pair-share", unit: "pairs" }, &figures.two_way_pair_share, events))
            (stat(Counted { name: "Generalised reciprocity", definition: "generalised-reciprocity", unit: "minutes" }, &figures.generalised_reciprocity, events))
            (stat(Counted { name: "Indirect reciprocity", definition: "indirect-reciprocity", unit: "minutes" }, &figures.indirect_reciprocity, events))
            (stat(Counted { name: "Across generations", definition: "cross-generation-share", unit: "minutes" }, &figures.cross_generation_share, events))
            (stat(Counted { name: "Younger taught older", definition: "reverse-share", unit: "minutes" }, &figures.reverse_share, events))
            (stat(Counted { name: "People in both roles", definition: "dual-role-share", unit: "people" }, &figures.dual_role_share, events))
            (stat(Counted { name: "Value reciprocity", definition: "value-reciprocity", unit: "quarter-minutes" }, &figures.value_reciprocity.figure, events))
            (stat(Counted { name: "Concentration of teaching", definition: "teaching-gini", unit: "(exact integers of the coefficient)" }, &figures.teaching_gini, events))
            (stat(Counted { name: "Confirmed sessions", definition: "confirmation-ratio", unit: "sessions" }, &figures.confirmation_ratio, events))
            (number("Until something comes back", "time-to-reciprocation",
                &time_to.median.map_or_else(|| NOTHING.to_owned(), |days| of(u64::from(days), "day", "days")),
                &if time_to.n == 0 { "undefined: no pair has an exchange yet".to_owned() }
                 else if time_to.median.is_none() { format!("median not reached: {} of {} pairs had something come back", count(time_to.events), count(time_to.n)) }
                 else { format!("median; {} of {} pairs had something come back", count(time_to.events), count(time_to.n)) }))
        }
        p.quiet { "Ratings cover " (percent(figures.value_reciprocity.coverage.minutes.value)) " of the minutes: "
            (count(figures.value_reciprocity.coverage.exchanges.numerator)) " of "
            (count(figures.value_reciprocity.coverage.exchanges.denominator)) " exchanges were rated." }
        section aria-labelledby="h-flow" { h2 #h-flow { "Who taught whom" } (flow(measured)) }
        section aria-labelledby="h-balance" { h2 #h-balance { "How even it was" } (balance(balances)) }
        section aria-labelledby="h-time" { h2 #h-time { "How it came about" } (over_time(months)) }
        section aria-labelledby="h-skills" { h2 #h-skills { "What was taught, and what is missing" } (skills(&measured.skills)) }
    };
    frame::page(&format!("Reciprocity · {}", here.name), here, &main)
}

fn flow(measured: &Reciprocity) -> Markup {
    const TITLE: &str = "Flow between generations";
    if measured.flow.is_empty() {
        return empty(TITLE, "There is nothing to draw: nobody taught anybody up to this day.");
    }
    // The oldest first: the bands of the policy, then whatever else is in use.
    let bands = measured.measure_policy.as_ref().map_or(&[][..], |policy| &policy.measures.bands);
    let mut order: Vec<&str> = bands.iter().map(|band| band.name.as_str()).collect();
    let known = order.len();
    for cell in &measured.flow {
        for name in [cell.from.as_str(), cell.to.as_str()] {
            if !order.contains(&name) {
                order.push(name);
            }
        }
    }
    let place = |name: &str| order.iter().position(|one| *one == name).unwrap_or(0);
    let mut sums = [0_u64; 4];
    let flows: Vec<Flow> = measured
        .flow
        .iter()
        .map(|cell| {
            let (from, to) = (place(cell.from.as_str()), place(cell.to.as_str()));
            let (kind, class) = match (from < known && to < known, from.cmp(&to)) {
                (false, _) => (3, "grey"),
                (true, std::cmp::Ordering::Less) => (0, "blue"),
                (true, std::cmp::Ordering::Greater) => (1, "orange"),
                (true, std::cmp::Ordering::Equal) => (2, "violet"),
            };
            sums[kind] += cell.minutes;
            Flow { from, to, minutes: cell.minutes, class }
        })
        .collect();
    let all = sums.iter().sum::<u64>().max(1) as f64;
    let share = |kind: usize| whole_percent(sums[kind] as f64 / all);
    let key = html! {
        ul.key {
            @for (kind, class, name) in [
                (0, "blue", "older taught younger"), (1, "orange", "younger taught older"),
                (2, "violet", "within a generation"), (3, "grey", "generation not known"),
            ] {
                @if sums[kind] > 0 { li { (swatch(class)) b { (share(kind)) } " " (name) } }
            }
        }
    };
    let names: Vec<String> = order.iter().map(|name| generation(name)).collect();
    let says = "Time taught, by generation; the older are above. What falls from left to right went from older to \
                younger, what rises from younger to older.";
    let rows: Vec<Vec<Markup>> = measured
        .flow
        .iter()
        .map(|row| {
            vec![
                cell(generation(row.from.as_str())),
                cell(generation(row.to.as_str())),
                cell(count(row.minutes)),
                cell(whole_percent(row.minutes as f64 / all)),
                cell(count(row.people)),
            ]
        })
        .collect();
    figure(
        &Drawing { id: "flow", title: TITLE, says, definition: "generation-flow" },
        &key,
        |sheet| charts::flows(sheet, &names, &flows),
        &table(
            "Minutes by generation",
            &["Taught by", "Learned by", "Minutes", "Of all", "People"],
            &rows,
            2,
        ),
    )
}

fn balance(balances: &Balances) -> Markup {
    const TITLE: &str = "Balance of pairs";
    const NAMES: [[&str; 2]; 6] = [
        ["one-way", "0%"],
        ["up to", "20%"],
        ["20–40%", ""],
        ["40–60%", ""],
        ["60–80%", ""],
        ["80–100%", "even"],
    ];
    if balances.pairs() == 0 {
        return empty(
            TITLE,
            "There is nothing to draw: no pair has taught or learned anything up to this day.",
        );
    }
    let columns: Vec<Column> = balances
        .classes
        .iter()
        .zip(NAMES)
        .map(|(class, name)| Column {
            name: name.into_iter().filter(|line| !line.is_empty()).map(str::to_owned).collect(),
            solid: class.enough,
            hatched: class.few,
        })
        .collect();
    let rows: Vec<Vec<Markup>> = balances
        .classes
        .iter()
        .zip(NAMES)
        .map(|(class, [one, other])| {
            let name = format!("{one} {other}");
            vec![
                cell(name.trim()),
                cell(count(class.enough)),
                cell(count(class.few)),
                cell(count(class.enough + class.few)),
            ]
        })
        .collect();
    let says = "Pairs by how even their teaching was: the smaller side of the two, doubled, of all their minutes. \
                Hatched: pairs with fewer than four sessions, of which it says little. Even is not better.";
    figure(
        &Drawing { id: "balance", title: TITLE, says, definition: "pair-balance" },
        &none(),
        |sheet| charts::columns(sheet, &columns, 190.0),
        &table("Pairs by balance", &["Balance", "4 sessions or more", "Fewer", "All"], &rows, 1),
    )
}

/// Names of months along an axis, so many that they do not touch.
pub fn month_ticks(months: &[MonthOf], most: usize) -> Vec<(f64, String)> {
    let every = months.len().div_ceil(most).max(1);
    let named = months.iter().enumerate().step_by(every);
    named.map(|(at, one)| (at as f64, month_tick(&one.month, at == 0))).collect()
}

fn over_time(months: &[MonthOf]) -> Markup {
    const TITLE: &str = "Two-way pairs over time";
    let points: Vec<Shares> = months
        .iter()
        .enumerate()
        .filter_map(|(at, one)| {
            let share = &one.two_way_pair_share;
            let interval = share.interval.map(|interval| (interval.lower, interval.upper));
            Some(Shares { at: at as f64, share: share.value?, interval })
        })
        .collect();
    if points.len() < 2 {
        return empty(
            TITLE,
            "There is nothing to draw yet: it takes two months with sessions to make a line.",
        );
    }
    let says = "Pairs in which both have taught, among pairs in which anybody has, at the close of each month; the \
                band is the 95% interval.";
    let rows: Vec<Vec<Markup>> = months
        .iter()
        .map(|one| {
            let share = &one.two_way_pair_share;
            vec![
                cell(month(&one.month)),
                html! { (time(one.close)) },
                cell(percent(share.value)),
                cell(count(share.numerator)),
                cell(count(share.denominator)),
            ]
        })
        .collect();
    let most = (months.len() - 1) as f64;
    figure(
        &Drawing { id: "two-way", title: TITLE, says, definition: "two-way-pair-share" },
        &none(),
        |sheet| {
            let ticks = month_ticks(months, if sheet.is_narrow() { 4 } else { 9 });
            charts::line(sheet, &points, &ticks, most)
        },
        &table(
            "Two-way pairs by month",
            &["Month", "At the close of", "Share", "Two-way", "Pairs"],
            &rows,
            2,
        ),
    )
}

fn skills(skills: &[SkillFlow]) -> Markup {
    const TITLE: &str = "Skills: supply and demand";
    let mut wanted: Vec<&SkillFlow> =
        skills.iter().filter(|skill| skill.offered + skill.sought > 0).collect();
    wanted.sort_by_key(|skill| (-skill.supply_gap, std::cmp::Reverse(skill.sought + skill.offered)));
    let mut all: Vec<&SkillFlow> = skills.iter().collect();
    all.sort_by_key(|skill| (std::cmp::Reverse(skill.minutes), -skill.supply_gap));
    let rows: Vec<Vec<Markup>> = all
        .iter()
        .take(SKILLS_MAX)
        .map(|skill| {
            vec![
                cell(title(skill.skill.as_str())),
                cell(hours(skill.minutes)),
                cell(count(skill.exchanges)),
                cell(count(skill.offered)),
                cell(count(skill.sought)),
                html! { @if skill.supply_gap > 0 { span.tag.warn { "short by " (skill.supply_gap) } } @else { (NOTHING) } },
                html! { (percent(skill.sought_fulfilment.value)) " "
                    @if skill.sought_fulfilment.denominator > 0 {
                        span.quiet { "(" (count(skill.sought_fulfilment.numerator)) " of " (count(skill.sought_fulfilment.denominator)) ")" }
                    }
                },
                cell(skill.mean_rating.filter(|_| skill.ratings > 0).map_or_else(|| NOTHING.to_owned(), |mean| format!("{mean:.1} ({})", count(skill.ratings)))),
            ]
        })
        .collect();
    let head = [
        "Skill",
        "Taught",
        "Exchanges",
        "Offer it",
        "Seek it",
        "Gap",
        "Seekers who learned it",
        "Mean rating (ratings)",
    ];
    let full = html! {
        (table("Skills, most taught first", &head, &rows, 1))
        @if all.len() > SKILLS_MAX { p.quiet { "The first " (SKILLS_MAX) " of " (count(all.len() as u64)) " skills; the API has them all." } }
    };
    if wanted.is_empty() {
        return html! {
            (empty(TITLE, "There is nothing to draw: nobody said yet what they offer or seek."))
            @if !rows.is_empty() { (full) }
        };
    }
    let drawn: Vec<Demand> = wanted
        .iter()
        .take(DRAWN_MAX)
        .map(|skill| Demand {
            name: title(skill.skill.as_str()),
            offered: skill.offered,
            sought: skill.sought,
        })
        .collect();
    let says = "People who offer a skill to the left, people who seek it to the right; the widest gaps first. In bold: \
                more seek it than offer it.";
    html! {
        (figure(&Drawing { id: "skills", title: TITLE, says, definition: "skills" }, &none(), |sheet| charts::demand(sheet, &drawn), &full))
        @if wanted.len() > DRAWN_MAX { p.quiet { "Drawn are the " (DRAWN_MAX) " with the widest gaps of " (count(wanted.len() as u64)) "." } }
    }
}
