//! Video from ffmpeg: MPEG-TS over UDP into a file, and RTP to ffprobe, as they were sent.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testbed::{Netns, eventually, json, run, skip_unless_available};

use crate::fixture::{SOON, cores_to_itself, last_stats};
use crate::programs::{between, joined, lacks, overruns, recorder};

const DONE: Duration = Duration::from_secs(60);

/// Sends a test picture and a tone in real time to `to`, an output of ffmpeg's, and writes the same to `file`.
fn send(netns: &Netns, seconds: u32, file: &Path, to: &str) {
    let mut command = netns.command("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-re"]);
    command.args(["-f", "lavfi", "-i", "testsrc=size=320x240:rate=25"]);
    command.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]);
    command.args(["-map", "0:v", "-map", "1:a", "-c:v", "mpeg2video", "-c:a", "mp2"]);
    command.args(["-t", &seconds.to_string(), "-f", "tee"]);
    command.arg(format!("[f=mpegts]{}|{to}", file.display()));
    let finished = run(command, DONE);
    assert_eq!(finished.code(), 0, "{finished:?}");
}

#[test]
fn an_mpeg_transport_stream_arrives_byte_for_byte() {
    skip_unless_available!();
    if lacks(module_path!(), &["ffmpeg", "ffprobe", "socat", "ss"]) {
        return;
    }
    let _cores = cores_to_itself();
    let (line, relay) = between("str-ts", "239.1.1.1%r-in:5000", &["239.2.2.2%r-out:6000"]);
    let folder = tempfile::tempdir().unwrap();
    let (sent, received) = (folder.path().join("sent.ts"), folder.path().join("received.ts"));
    let _socat = recorder(&line.receiver, "239.2.2.2:6000".parse().unwrap(), &received);
    let to = "[f=mpegts]udp://239.1.1.1:5000?localaddr=10.10.1.100&ttl=4&pkt_size=1316";
    send(line.sender.netns(), 4, &sent, to);

    let sent = std::fs::read(sent).unwrap();
    eventually(SOON, format!("all bytes; {}", overruns(line.receiver.netns())), || {
        std::fs::metadata(&received).is_ok_and(|metadata| metadata.len() >= sent.len() as u64)
    });
    assert!(std::fs::read(&received).unwrap() == sent, "the stream differs from what was sent");
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-of", "json", "-count_frames", "-select_streams", "v"]);
    probe.args(["-show_entries", "stream=codec_name,nb_read_frames"]).arg(&received);
    let stream = &json(probe)["streams"][0];
    assert_eq!((&stream["codec_name"], &stream["nb_read_frames"]), (&"mpeg2video".into(), &"100".into()));
    let stats = last_stats(relay);
    assert_eq!(stats.egress.bytes, sent.len() as u64, "{stats:?}");
    assert_eq!((stats.egress.sent, stats.egress.errors), (stats.ingress.matched, 0), "{stats:?}");
}

/// The packets of the picture in a stream, each by its hash; at most `count`.
fn picture(mut command: Command, input: &str, count: usize) -> Vec<String> {
    command.args(["-v", "error", "-of", "json", "-select_streams", "v", "-show_data_hash", "md5"]);
    command.args(["-show_entries", "packet=data_hash", "-read_intervals", &format!("%+#{count}"), input]);
    let finished = run(command, DONE);
    let packets = finished.json();
    let packets = packets["packets"].as_array().unwrap_or_else(|| panic!("no packets: {finished:?}"));
    packets.iter().map(|packet| packet["data_hash"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn ffprobe_sees_the_rtp_stream_that_was_sent() {
    skip_unless_available!();
    if lacks(module_path!(), &["ffmpeg", "ffprobe", "ss"]) {
        return;
    }
    let _cores = cores_to_itself();
    // Without a port: RTCP goes by the odd one beside RTP's, and both are kept.
    let (line, relay) = between("str-rtp", "239.1.1.1%r-in", &["239.2.2.2%r-out"]);
    let folder = tempfile::tempdir().unwrap();
    let sent = folder.path().join("sent.ts");
    let netns = line.receiver.netns();
    let input = "rtp://239.2.2.2:5004?localaddr=10.10.2.100";
    let received = std::thread::scope(|scope| {
        let ffprobe = netns.command("ffprobe");
        let probing = scope.spawn(move || picture(ffprobe, input, 60));
        joined(&line.receiver, "239.2.2.2".parse().unwrap(), "ffprobe");
        let to = "[f=rtp_mpegts]rtp://239.1.1.1:5004?localaddr=10.10.1.100&ttl=4&pkt_size=1316";
        send(line.sender.netns(), 6, &sent, to);
        probing.join().unwrap()
    });
    let stats = last_stats(relay);

    let sent = picture(Command::new("ffprobe"), sent.to_str().unwrap(), 1000);
    assert_eq!((sent.len(), received.len()), (150, 60));
    // It uses up what it needs to tell the kind of stream; from there on not one packet lacks.
    let intact = sent.windows(received.len()).any(|run| run == received);
    assert!(intact, "sent {sent:?}, received {received:?}; {}", overruns(netns));
    assert_eq!((stats.egress.sent, stats.egress.errors), (stats.ingress.matched, 0), "{stats:?}");
}
