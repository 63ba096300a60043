//! Whether a row of the engine's list fits what is known of a container, without asking for more.

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as RowState};
use domain::{Container, Health, Status};

/// A text of an age that is right within this many seconds fits: the engine writes it at another moment than ours.
const AGE_SLACK: i64 = 3;

/// The row says nothing that differs from what is known. `now` is the engine's clock, in seconds.
pub(crate) fn fits(row: &ContainerSummary, known: &Container, now: i64) -> bool {
    let Some(state) = row.state else { return false };
    status_fits(state, known.status) && name_fits(row, &known.name) && text_fits(row, known, now)
}

fn status_fits(row: RowState, known: Status) -> bool {
    match row {
        RowState::EMPTY => false,
        RowState::CREATED => matches!(known, Status::Created | Status::StartFailed),
        RowState::RUNNING | RowState::STOPPING => known == Status::Running,
        RowState::PAUSED => known == Status::Paused,
        RowState::RESTARTING => known == Status::Restarting,
        RowState::EXITED => known == Status::Exited,
        RowState::REMOVING => known == Status::Removing,
        RowState::DEAD => known == Status::Dead,
    }
}

fn name_fits(row: &ContainerSummary, known: &str) -> bool {
    // Links add names with a second slash.
    row.names.as_deref().is_none_or(|names| names.iter().any(|name| name.strip_prefix('/') == Some(known)))
}

/// `Up 5 minutes (healthy)`, `Exited (3) 2 hours ago`: code, health and, from the age, a restart.
fn text_fits(row: &ContainerSummary, known: &Container, now: i64) -> bool {
    let Some(text) = row.status.as_deref() else { return true };
    if let Some(up) = text.strip_prefix("Up ") {
        let (age, note) = up.split_once(" (").unwrap_or((up, ""));
        return age_fits(age, known.started_at.map(seconds), now) && health_fits(note.trim_end_matches(')'), known);
    }
    let ended = text.strip_prefix("Exited (").or_else(|| text.strip_prefix("Restarting ("));
    if let Some((code, age)) = ended.and_then(|ended| ended.split_once(") ")) {
        let age = age.trim_end_matches(" ago");
        return code.parse().ok() == known.exit_code && age_fits(age, known.finished_at.map(seconds), now);
    }
    true
}

fn health_fits(note: &str, known: &Container) -> bool {
    match note {
        "healthy" => known.health == Some(Health::Healthy),
        "unhealthy" => known.health == Some(Health::Unhealthy),
        "health: starting" => known.health == Some(Health::Starting),
        _ => true,
    }
}

fn age_fits(text: &str, since: Option<i64>, now: i64) -> bool {
    let Some(since) = since else { return false };
    (-AGE_SLACK..=AGE_SLACK).any(|slack| human_duration(now - since + slack) == text)
}

fn seconds(time: domain::Timestamp) -> i64 {
    time.0.div_euclid(1_000_000_000)
}

/// As the engine writes it (docker/go-units `HumanDuration`).
fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds + 30 * 60) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn known(status: Status, exit_code: Option<i32>, age: i64) -> Container {
        let at = Some(Timestamp((NOW - age) * 1_000_000_000));
        let mut container =
            Container::unheard_of([1; 32].into(), "n".parse().unwrap(), domain::container::AsOf::default());
        container.name = "web".to_owned();
        (container.status, container.exit_code) = (status, exit_code);
        (container.started_at, container.finished_at) = (at, at);
        container
    }

    fn row(state: RowState, text: &str) -> ContainerSummary {
        ContainerSummary {
            names: Some(vec!["/other/alias".into(), "/web".into()]),
            state: Some(state),
            status: Some(text.to_owned()),
            ..ContainerSummary::default()
        }
    }

    #[test]
    fn a_row_shows_a_change_of_state_code_age_or_health() {
        let running = known(Status::Running, None, 300);
        let exited = known(Status::Exited, Some(3), 7200);
        for (state, text, known, fit) in [
            (RowState::RUNNING, "Up 5 minutes", &running, true),
            (RowState::RUNNING, "Up 4 minutes", &running, true),
            (RowState::RUNNING, "Up 6 seconds", &running, false),
            (RowState::RUNNING, "Up 5 minutes (healthy)", &running, false),
            (RowState::RUNNING, "Up 5 minutes (Paused)", &running, true),
            (RowState::PAUSED, "Up 5 minutes (Paused)", &running, false),
            (RowState::EXITED, "Exited (3) 2 hours ago", &exited, true),
            (RowState::EXITED, "Exited (0) 2 hours ago", &exited, false),
            (RowState::EXITED, "Exited (3) 5 seconds ago", &exited, false),
            (RowState::EXITED, "Something new", &exited, true),
        ] {
            assert_eq!(fits(&row(state, text), known, NOW), fit, "{text}");
        }
    }

    #[test]
    fn a_rename_shows() {
        let mut renamed = known(Status::Created, None, 0);
        assert!(fits(&row(RowState::CREATED, "Created"), &renamed, NOW));
        renamed.name = "before".to_owned();
        assert!(!fits(&row(RowState::CREATED, "Created"), &renamed, NOW));
    }

    #[test]
    fn ages_as_the_engine_writes_them() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (15 * 86400, "2 weeks"),
            (70 * 86400, "2 months"),
            (3 * 365 * 86400, "3 years"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }
}
