//! What of a server's data outlives a restart.
//!
//! Guarantees: `save` is read as `setConfigSaveOption` (`config.c`) reads it from 7.0 on: pairs add
//! up, the first of them replaces the default ones, an empty value clears all, and so does every
//! line that follows an `include` in the same text (measured with 7.0.15).

/// When the server takes snapshots.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Save {
    /// Nothing is said. From 7.0 on that means the points 3600 1, 300 100 and 60 10000; earlier
    /// versions take none as soon as they are started with any argument.
    Unsaid,
    /// Seconds and changes; none of them: never.
    Points(Vec<(u64, u64)>),
}

/// What is left after a restart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Persistence {
    /// A log of all writes.
    Log,
    /// Snapshots: all of the data after an orderly stop, those of some time ago after another one.
    Snapshots,
    /// Snapshots from 7.0 on; before, nothing.
    VersionDecides,
    /// Nothing: a master comes back empty, and its replicas with it.
    Nothing,
}

// === impl Save ===

impl Save {
    /// The points that are written out.
    pub fn points(&self) -> &[(u64, u64)] {
        match self {
            Self::Unsaid => &[],
            Self::Points(points) => points,
        }
    }

    pub(super) fn add(&mut self, values: &[String], replaces: bool) -> Result<(), String> {
        // Pairs may stand in one word.
        let words: Vec<&str> = values.iter().flat_map(|v| v.split_ascii_whitespace()).collect();
        // No value at all, in a file, adds nothing.
        if words.is_empty() && !values.is_empty() {
            *self = Self::Points(Vec::new());
            return Ok(());
        }
        let wrong = || "`save` takes pairs of seconds and changes".to_owned();
        let number = |word: &str| word.parse::<u64>().map_err(|_| wrong());
        let mut points = match self {
            Self::Unsaid => Vec::new(),
            Self::Points(points) if !replaces => std::mem::take(points),
            Self::Points(_) => Vec::new(),
        };
        for pair in words.chunks(2) {
            let [seconds, changes] = pair else { return Err(wrong()) };
            let seconds = number(seconds)?;
            if seconds == 0 {
                return Err(wrong());
            }
            points.push((seconds, number(changes)?));
        }
        *self = Self::Points(points);
        Ok(())
    }

    pub(super) fn persistence(&self, append_only: bool) -> Persistence {
        match self {
            _ if append_only => Persistence::Log,
            Self::Unsaid => Persistence::VersionDecides,
            Self::Points(points) if points.is_empty() => Persistence::Nothing,
            Self::Points(_) => Persistence::Snapshots,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_add_up_and_an_empty_value_clears_them() {
        let read = |lines: &[&[&str]]| {
            let mut save = Save::Unsaid;
            for line in lines {
                save.add(&line.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>(), false)?;
            }
            Ok::<_, String>(save)
        };
        assert_eq!(read(&[]), Ok(Save::Unsaid));
        assert_eq!(
            read(&[&["900", "1"], &["60 10 1 1"]]).unwrap().points(),
            [(900, 1), (60, 10), (1, 1)]
        );
        assert_eq!(read(&[&["900", "1"], &[""]]).unwrap().points(), []);
        assert_eq!(read(&[&[""], &["9", "1"]]).unwrap().points(), [(9, 1)]);
        for wrong in [&["900"][..], &["0", "1"], &["a", "1"], &["1", "-1"]] {
            assert!(read(&[wrong]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_left_after_a_restart() {
        let never = Save::Points(Vec::new());
        assert_eq!(never.persistence(true), Persistence::Log);
        assert_eq!(never.persistence(false), Persistence::Nothing);
        assert_eq!(Save::Unsaid.persistence(false), Persistence::VersionDecides);
        assert_eq!(Save::Points(vec![(9, 1)]).persistence(false), Persistence::Snapshots);
    }
}
