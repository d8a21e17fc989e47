//! Servers of pods that were deleted by force, and that nobody has seen end.
//!
//! Guarantees: where one may run is not forgotten because the pod after it was deleted as well.

use crate::protocol::{Lingering, Member};

/// Where servers of pods with this name may still run, for the entry of the pod `uid`; `ended` says
/// whether a pod was seen to end. A pod that waits for such a server may itself be deleted.
pub fn lingering(
    before: Option<&Member>,
    uid: &str,
    ended: impl Fn(&str) -> bool,
) -> Vec<Lingering> {
    let Some(before) = before else { return Vec::new() };
    let mut all = before.lingering.clone();
    if before.pod_uid != uid && !ended(&before.pod_uid) && !before.ips.is_empty() {
        all.push(Lingering { ips: before.ips.clone(), ports: before.ports });
    }
    let more = all.len().saturating_sub(LINGERING_AT_MOST);
    all.split_off(more)
}

/// A name has no more than so many pods that were deleted by force one after the other.
const LINGERING_AT_MOST: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn who_was_deleted_by_force_is_remembered_over_a_pod_that_waited_for_it() {
        let at = |n: u8| [std::net::IpAddr::from([10, 0, 0, n])];
        let ended = |uid: &str| uid == "seen";
        let ghost = sample::member("ghost", None, &at(1));
        let waits = Member {
            lingering: lingering(Some(&ghost), "seen", ended),
            ..sample::member("seen", None, &at(2))
        };
        let places = |of: &Member, uid| -> Vec<_> {
            lingering(Some(of), uid, ended).into_iter().flat_map(|l| l.ips).collect()
        };
        assert_eq!(places(&waits, "seen"), at(1), "it registers again");
        assert_eq!(places(&waits, "next"), at(1), "it was seen to end");
        let forced = Member { pod_uid: "forced".to_owned(), ..waits };
        assert_eq!(places(&forced, "next"), [at(1), at(2)].concat(), "by force as well");
        assert_eq!(lingering(None, "u", ended), []);
        let mut many = ghost;
        many.lingering = vec![Lingering { ips: at(9).to_vec(), ports: many.ports }; 9];
        assert_eq!(places(&many, "u"), [at(9), at(9), at(9), at(1)].concat());
    }
}
