//! Matchings on a general graph: who is paired with whom when everybody is paired at most once.
//! Never knows whom the numbers stand for, and never answers a matching that is merely good.
//!
//! The weight of a matching is the sum of its edges' weights. Of several that are equally good always the same
//! one is given, whatever the order of the edges.

use std::collections::BTreeMap;
use std::convert::Infallible;

use petgraph::graph::{NodeIndex, UnGraph};
use rustworkx_core::max_weight_matching::max_weight_matching;

/// An edge between two of the numbered, with its weight, which is above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The lesser of the two.
    pub one: u32,
    /// The greater of the two.
    pub other: u32,
    /// Its weight.
    pub weight: u32,
}

impl Edge {
    /// Makes the edge of two, in either order.
    pub fn new(one: u32, other: u32, weight: u32) -> Self {
        Self { one: one.min(other), other: one.max(other), weight }
    }
}

/// What makes a matching the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Objective {
    /// The greatest weight; of those, the most edges.
    Weight,
    /// The most edges; of those, the greatest weight.
    Participation,
}

/// It was told to stop before it was done: there is no matching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the matching was given up before it was done")]
pub struct GivenUp;

/// The edges of the best matching with at most `most` edges, ascending.
///
/// The best matching of all is that of each connected part, found by Edmonds' blossom algorithm (Galil 1986, ACM
/// Computing Surveys 18:23). Where it has more than `most` edges, the best with just so many is found exactly:
/// the greatest weight f(k) of k edges is concave in k, since the matchings of k edges are the corners of the
/// matching polytope cut at k (Schrijver, Combinatorial Optimization, 2003, section 25.5); so a price on every
/// edge is sought, by halving, at which f stops paying between fewer than `most` edges and at least as many. Two
/// best matchings at that price, one of each, differ in paths and circles that are equally good either way, and
/// as many paths are taken over as edges are missing.
///
/// Edges of which one is a loop or weighs nothing are ignored; of edges between the same two the heaviest counts.
/// `go_on` is asked between parts and prices. Costs at most the cube of the largest part's number of people, and
/// on sparse graphs far less; with `most` below the best, some 12 times that.
/// Oracle: networkx 3.6.1 `max_weight_matching`; in the tests, every matching there is.
pub fn matching(
    edges: &[Edge],
    objective: Objective,
    most: usize,
    go_on: &dyn Fn() -> bool,
) -> Result<Vec<Edge>, GivenUp> {
    let graph = Parts::of(edges);
    let heaviest = graph.heaviest();
    let best = match objective {
        Objective::Weight => graph.best(0, go_on)?,
        // Any edge is worth more than all that two others could lose.
        Objective::Participation => graph.best(-graph.total() - 1, go_on)?,
    };
    if best.len() <= most || most == 0 {
        return Ok(if most == 0 { Vec::new() } else { best });
    }
    // At `low` there are at least `most` edges, at `high` fewer.
    let (mut low, mut high) = (0, heaviest + 1);
    let mut few = Vec::new();
    let mut many = match objective {
        Objective::Weight => best,
        Objective::Participation => graph.best(0, go_on)?,
    };
    let mut step = 1;
    while many.len() < most {
        (high, few) = (low, many);
        low -= step;
        step *= 2;
        many = graph.best(low, go_on)?;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let found = graph.best(middle, go_on)?;
        if found.len() >= most {
            (low, many) = (middle, found);
        } else {
            (high, few) = (middle, found);
        }
    }
    Ok(between(&few, &many, most))
}

/// A graph as its connected parts: a matching is one of each.
struct Parts {
    parts: Vec<Vec<Edge>>,
}

impl Parts {
    fn of(edges: &[Edge]) -> Self {
        let mut heaviest: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        for edge in edges.iter().filter(|edge| edge.one != edge.other && edge.weight > 0) {
            let edge = Edge::new(edge.one, edge.other, edge.weight);
            let weight = heaviest.entry((edge.one, edge.other)).or_default();
            *weight = (*weight).max(edge.weight);
        }
        let people = heaviest.keys().map(|(_, other)| *other as usize + 1).max().unwrap_or(0);
        let mut leads: Vec<usize> = (0..people).collect();
        for &(one, other) in heaviest.keys() {
            let (one, other) = (lead(&mut leads, one as usize), lead(&mut leads, other as usize));
            leads[one.max(other)] = one.min(other);
        }
        let mut parts: BTreeMap<usize, Vec<Edge>> = BTreeMap::new();
        for ((one, other), weight) in heaviest {
            parts.entry(lead(&mut leads, one as usize)).or_default().push(Edge { one, other, weight });
        }
        Self { parts: parts.into_values().collect() }
    }

    fn heaviest(&self) -> i128 {
        self.parts.iter().flatten().map(|edge| i128::from(edge.weight)).max().unwrap_or(0)
    }

    fn total(&self) -> i128 {
        self.parts.iter().flatten().map(|edge| i128::from(edge.weight)).sum()
    }

    /// The best matching when every edge costs `price`; of several the one with the most edges.
    fn best(&self, price: i128, go_on: &dyn Fn() -> bool) -> Result<Vec<Edge>, GivenUp> {
        let mut best = Vec::new();
        for part in &self.parts {
            if !go_on() {
                return Err(GivenUp);
            }
            best.extend(best_of_part(part, price));
        }
        best.sort_unstable();
        Ok(best)
    }
}

fn lead(leads: &mut [usize], mut of: usize) -> usize {
    while leads[of] != of {
        leads[of] = leads[leads[of]];
        of = leads[of];
    }
    of
}

fn best_of_part(part: &[Edge], price: i128) -> Vec<Edge> {
    let worth = |edge: &Edge| i128::from(edge.weight) - price;
    let mut numbers: BTreeMap<u32, NodeIndex> = BTreeMap::new();
    let mut graph: UnGraph<(), i128> = UnGraph::default();
    let kept: Vec<&Edge> = part.iter().filter(|edge| worth(edge) >= 0).collect();
    for edge in &kept {
        for person in [edge.one, edge.other] {
            numbers.entry(person).or_insert_with(|| graph.add_node(()));
        }
    }
    // An edge more breaks a tie and changes nothing else: all of them together weigh less than 1.
    let scale = i128::try_from(numbers.len()).unwrap_or(i128::MAX) + 1;
    for edge in &kept {
        graph.add_edge(numbers[&edge.one], numbers[&edge.other], worth(edge) * scale + 1);
    }
    let Ok(pairs) = max_weight_matching(&graph, false, |edge| Ok::<_, Infallible>(*edge.weight()), false);
    // Nodes were numbered in the order of the edges; an edge is found again by its two.
    kept.into_iter()
        .filter(|edge| {
            let (one, other) = (numbers[&edge.one].index(), numbers[&edge.other].index());
            pairs.contains(&(one, other)) || pairs.contains(&(other, one))
        })
        .copied()
        .collect()
}

/// A matching of `wanted` edges, as good as two that are equally good, of fewer and of at least as many.
fn between(few: &[Edge], many: &[Edge], wanted: usize) -> Vec<Edge> {
    // What only one of them has falls into paths and circles in which edges of either take turns.
    let only = |of: &[Edge], not: &[Edge]| -> Vec<Edge> {
        of.iter().filter(|edge| not.binary_search(edge).is_err()).copied().collect()
    };
    let (out, into) = (only(few, many), only(many, few));
    let people = out.iter().chain(&into).map(|edge| edge.other as usize + 1).max().unwrap_or(0);
    let mut leads: Vec<usize> = (0..people).collect();
    for edge in out.iter().chain(&into) {
        let (one, other) = (lead(&mut leads, edge.one as usize), lead(&mut leads, edge.other as usize));
        leads[one.max(other)] = one.min(other);
    }
    let mut paths: BTreeMap<usize, (Vec<Edge>, Vec<Edge>)> = BTreeMap::new();
    for edge in out {
        paths.entry(lead(&mut leads, edge.one as usize)).or_default().0.push(edge);
    }
    for edge in into {
        paths.entry(lead(&mut leads, edge.one as usize)).or_default().1.push(edge);
    }
    let mut chosen: Vec<Edge> = few.to_vec();
    for (out, into) in paths.into_values().filter(|(out, into)| into.len() > out.len()) {
        if chosen.len() == wanted {
            break;
        }
        chosen.retain(|edge| !out.contains(edge));
        chosen.extend(into);
    }
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn found(edges: &[Edge], objective: Objective, most: usize) -> Vec<Edge> {
        matching(edges, objective, most, &|| true).unwrap()
    }

    fn weight(edges: &[Edge]) -> u64 {
        edges.iter().map(|edge| u64::from(edge.weight)).sum()
    }

    /// The greatest weight of every number of edges: all matchings there are, one by one.
    fn all(edges: &[Edge], taken: &mut BTreeSet<u32>, size: usize, sum: u64, best: &mut Vec<Option<u64>>) {
        let Some((edge, rest)) = edges.split_first() else {
            best.resize(best.len().max(size + 1), None);
            best[size] = best[size].max(Some(sum));
            return;
        };
        all(rest, taken, size, sum, best);
        if !taken.contains(&edge.one) && !taken.contains(&edge.other) {
            taken.extend([edge.one, edge.other]);
            all(rest, taken, size + 1, sum + u64::from(edge.weight), best);
            taken.remove(&edge.one);
            taken.remove(&edge.other);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn it_is_the_best_of_all_matchings_of_every_size(
            // Few weights: ties everywhere. Parallel edges and loops too.
            edges in vec((0_u32..9, 0_u32..9, prop_oneof![1_u32..4, 1_u32..1000]), 0..16).prop_shuffle()
        ) {
            let edges: Vec<Edge> = edges.into_iter().map(|(a, b, weight)| Edge::new(a, b, weight)).collect();
            let proper: Vec<Edge> = edges.iter().filter(|edge| edge.one != edge.other).copied().collect();
            let mut best = Vec::new();
            all(&proper, &mut BTreeSet::new(), 0, 0, &mut best);
            let best: Vec<u64> = best.into_iter().map(|weight| weight.unwrap()).collect();
            for most in 0..=best.len() {
                let upto = &best[..best.len().min(most + 1)];
                let heaviest = found(&edges, Objective::Weight, most);
                let fullest = found(&edges, Objective::Participation, most);
                for matching in [&heaviest, &fullest] {
                    let people: BTreeSet<u32> = matching.iter().flat_map(|edge| [edge.one, edge.other]).collect();
                    prop_assert_eq!(people.len(), 2 * matching.len(), "somebody is paired twice");
                    prop_assert!(matching.iter().all(|edge| proper.contains(edge)) && matching.is_sorted());
                }
                prop_assert_eq!(weight(&heaviest), *upto.iter().max().unwrap());
                prop_assert_eq!(fullest.len(), upto.len() - 1);
                prop_assert_eq!(weight(&fullest), upto[upto.len() - 1]);
                // Nothing but the edges decides.
                let mut turned = edges.clone();
                turned.reverse();
                prop_assert_eq!(found(&turned, Objective::Weight, most), heaviest);
                prop_assert_eq!(found(&turned, Objective::Participation, most), fullest);
            }
        }
    }

    #[test]
    fn who_has_no_edge_is_left_alone_and_a_matching_can_be_given_up() {
        assert_eq!(found(&[], Objective::Participation, 5), []);
        assert_eq!(found(&[Edge::new(3, 3, 5), Edge::new(1, 2, 0)], Objective::Weight, 5), []);
        assert_eq!(matching(&[Edge::new(1, 2, 3)], Objective::Weight, 1, &|| false), Err(GivenUp));
    }
}
