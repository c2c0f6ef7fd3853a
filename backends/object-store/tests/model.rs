//! The rule of epochs, fencing and forgetting, checked in every state that a small world can reach.
//!
//! The world: commit objects created only if absent, two or three writers that open, commit through
//! a pipeline, stall anywhere and resume; answers that are lost, requests that arrive late; a
//! checkpoint, and deletion of the commit objects that it covers. `world.rs` is the rule, this file
//! what must hold in every state, and the ways to break the rule that must be noticed.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test: it fails by panic and shows what it walked through"
)]

#[path = "model/world.rs"]
mod world;

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use world::{Bounds, Mutant, World};

/// Visits every reachable state, depth first; answers how many there are, or the first bad trace.
fn explore(bounds: Bounds, mutant: Mutant) -> Result<usize, String> {
    let first = World::new(bounds);
    let mut seen: HashSet<(u64, u64)> = HashSet::from([fingerprint(&first)]);
    let mut stack = vec![(first, None::<usize>)];
    let mut parents: Vec<(String, Option<usize>)> = Vec::new();
    while let Some((world, parent)) = stack.pop() {
        for (action, next) in world.steps(bounds, mutant) {
            let next = match next {
                Ok(next) => next,
                Err(why) => return Err(trace(&parents, parent, &format!("{action}: {why}"))),
            };
            if !seen.insert(fingerprint(&next)) {
                continue;
            }
            if let Err(why) = next.check() {
                return Err(trace(&parents, parent, &format!("{action}: {why}\n{next:?}")));
            }
            parents.push((action, parent));
            stack.push((next, Some(parents.len() - 1)));
        }
    }
    Ok(seen.len())
}

/// Two independent hashes: states are many, and a collision would hide one.
fn fingerprint(world: &World) -> (u64, u64) {
    let mut one = DefaultHasher::new();
    world.hash(&mut one);
    let mut two = DefaultHasher::new();
    (0x9e37_79b9_u32, world).hash(&mut two);
    (one.finish(), two.finish())
}

fn trace(parents: &[(String, Option<usize>)], mut at: Option<usize>, last: &str) -> String {
    let mut lines = vec![last.to_owned()];
    while let Some(index) = at {
        lines.push(parents[index].0.clone());
        at = parents[index].1;
    }
    lines.reverse();
    lines.join("\n")
}

/// Two writers, a pipeline of two, lost answers, late requests; nothing is deleted.
const PIPELINE: Bounds =
    Bounds { writers: 2, depth: 2, commits: 3, time: 0, late: 1, losses: 1, deletes: false };
/// Three writers that take over from each other.
const TAKEOVERS: Bounds =
    Bounds { writers: 3, depth: 2, commits: 2, time: 0, late: 0, losses: 0, deletes: false };
/// Two writers, time passes, and what the checkpoint covers is deleted.
const FORGETTING: Bounds =
    Bounds { writers: 2, depth: 1, commits: 1, time: 2, late: 0, losses: 1, deletes: true };
/// The same for longer, with a pipeline, without lost answers: minutes in a debug build.
const FORGETTING_LONGER: [Bounds; 3] = [
    Bounds { writers: 2, depth: 1, commits: 1, time: 3, late: 0, losses: 1, deletes: true },
    Bounds { writers: 2, depth: 2, commits: 2, time: 3, late: 0, losses: 0, deletes: true },
    Bounds { writers: 3, depth: 1, commits: 1, time: 2, late: 0, losses: 0, deletes: true },
];

fn holds(bounds: Bounds) {
    match explore(bounds, Mutant::None) {
        Ok(states) => println!("{states} states of {bounds:?}"),
        Err(trace) => panic!("the rule is broken:\n{trace}"),
    }
}

fn is_caught(mutant: Mutant, bounds: &[Bounds]) {
    for bounds in bounds {
        if let Err(trace) = explore(*bounds, mutant) {
            println!("{mutant:?} is caught:\n{trace}");
            return;
        }
    }
    panic!("{mutant:?} is not caught");
}

#[test]
fn rule_holds_with_a_pipeline_and_lost_answers() {
    holds(PIPELINE);
}

#[test]
fn rule_holds_over_two_takeovers() {
    holds(TAKEOVERS);
}

#[test]
fn rule_holds_when_ids_are_forgotten() {
    holds(FORGETTING);
}

#[test]
#[ignore = "millions of states: cargo test --release --test model -- --ignored"]
fn rule_holds_when_ids_are_forgotten_for_longer() {
    FORGETTING_LONGER.into_iter().for_each(holds);
}

#[test]
fn answer_lost_and_sent_again_under_the_next_seq_is_caught() {
    is_caught(Mutant::SendsAgainElsewhere, &[PIPELINE]);
}

#[test]
fn existing_object_taken_for_the_own_one_is_caught() {
    is_caught(Mutant::TrustsExisting, &[PIPELINE]);
}

#[test]
fn acks_out_of_order_are_caught() {
    is_caught(Mutant::AcksOutOfOrder, &[PIPELINE]);
}

#[test]
fn pipeline_right_after_a_takeover_is_caught() {
    is_caught(Mutant::PipelinesAtOnce, &[PIPELINE, TAKEOVERS]);
}

#[test]
fn pipeline_behind_a_commit_that_may_have_to_move_is_caught() {
    is_caught(Mutant::PipelinesTooSoon, &[PIPELINE]);
}

#[test]
fn newcomer_that_keeps_the_epoch_is_caught() {
    is_caught(Mutant::KeepsEpoch, &[PIPELINE]);
}

#[test]
fn fence_behind_a_hole_is_caught() {
    is_caught(Mutant::FencesBehindHole, &[PIPELINE]);
}

#[test]
fn newcomer_that_does_not_read_again_is_caught() {
    is_caught(Mutant::DoesNotReadAgain, &[PIPELINE]);
}

#[test]
fn deleting_as_early_as_a_writer_may_stall_is_caught() {
    is_caught(Mutant::DeletesEarly, &[FORGETTING]);
}

#[test]
fn stall_measured_from_the_last_send_is_caught() {
    is_caught(Mutant::MeasuresFromSend, &[FORGETTING]);
}

#[test]
fn acks_of_a_stalled_writer_without_a_look_are_caught() {
    is_caught(Mutant::NeverVerifies, &[FORGETTING]);
}

#[test]
fn deleting_the_newest_commit_object_is_caught() {
    is_caught(Mutant::DeletesNewest, &[FORGETTING]);
}

#[test]
fn opening_that_took_too_long_is_caught() {
    is_caught(Mutant::OpensLate, &[FORGETTING]);
}
