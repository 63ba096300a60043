//! Tables as `docker ps` prints them, and how values look in a cell.

use comfy_table::{ContentArrangement, Table};
use domain::{Container, Port, Timestamp};

use crate::out;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A table without borders; every row has as many cells as there are headings.
pub(crate) fn render(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().copied());
    for row in rows {
        table.add_row(row.into_iter().map(|cell| {
            let cell = out::one_line(&cell);
            if cell.is_empty() { "-".to_owned() } else { cell }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// How long ago, in its largest unit: `5s`, `2m`, `3h`, `4d`.
pub(crate) fn age(now: Timestamp, since: Option<Timestamp>) -> String {
    let Some(since) = since else { return String::new() };
    // Clocks of two machines differ: what lies ahead is now.
    let seconds = now.0.saturating_sub(since.0).max(0) / NANOS_PER_SECOND;
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m", seconds / 60),
        3_600..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Status with what belongs to it: `exited (3)`, `unknown (was running)`.
pub(crate) fn status(container: &Container) -> String {
    let status = container.status;
    match (container.last_status, container.exit_code) {
        (Some(last), _) => format!("{status} (was {last})"),
        (None, Some(code)) => format!("{status} ({code})"),
        (None, None) => status.to_string(),
    }
}

/// Ports as `docker ps` writes them: `127.0.0.1:8080->80/tcp, 443/tcp`.
pub(crate) fn ports(ports: &[Port]) -> String {
    let written: Vec<String> = ports
        .iter()
        .map(|port| {
            let inside = format!("{}/{}", port.container_port, port.protocol);
            match (&port.host_ip, port.host_port) {
                (Some(ip), Some(outside)) if ip.contains(':') => format!("[{ip}]:{outside}->{inside}"),
                (Some(ip), Some(outside)) => format!("{ip}:{outside}->{inside}"),
                (None, Some(outside)) => format!("{outside}->{inside}"),
                (Some(_) | None, None) => inside,
            }
        })
        .collect();
    written.join(", ")
}

/// Project and service, as far as there are.
pub(crate) fn service(container: &Container) -> String {
    container.compose_service().or_else(|| container.service.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use domain::{Protocol, Status};

    use super::*;
    use crate::sample;

    #[test]
    fn columns_without_borders() {
        let rows = vec![
            vec!["a".to_owned(), String::new(), "x\ny".to_owned()],
            vec!["long".to_owned(), "b".to_owned(), "c".to_owned()],
        ];
        assert_eq!(render(&["ID", "NODE", "NAME"], rows), "ID    NODE  NAME\na     -     x y\nlong  b     c\n");
    }

    #[test]
    fn ages_in_their_largest_unit() {
        let at = |seconds: i64| age(Timestamp(seconds * NANOS_PER_SECOND), Some(Timestamp(0)));
        assert_eq!(
            [at(-5), at(59), at(60), at(3_600), at(172_799), at(172_800)],
            ["0s", "59s", "1m", "1h", "47h", "2d"]
        );
        assert_eq!(age(Timestamp(i64::MAX), Some(Timestamp(i64::MIN))), "106751d");
        assert_eq!(age(Timestamp(0), None), "");
    }

    #[test]
    fn a_status_says_what_belongs_to_it() {
        let mut container = sample::container(1, "web");
        assert_eq!(status(&container), "running");
        container.status = Status::StartFailed;
        container.exit_code = Some(127);
        assert_eq!(status(&container), "start_failed (127)");
        container.status = Status::Unknown;
        container.last_status = Some(Status::Exited);
        assert_eq!(status(&container), "unknown (was exited)");
    }

    #[test]
    fn ports_as_docker_writes_them() {
        let port = |host_ip: Option<&str>, host_port| Port {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: host_ip.map(str::to_owned),
            host_port,
        };
        let all = [port(Some("127.0.0.1"), Some(8080)), port(Some("::"), Some(8080)), port(None, None)];
        assert_eq!(ports(&all), "127.0.0.1:8080->80/tcp, [::]:8080->80/tcp, 80/tcp");
    }
}
