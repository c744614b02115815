//! `model` on a state directory that no coordinator serves.

use std::fs;

use super::bench::{Bench, json, printed, refused};

/// Trials 0 and 1 share a config, as 2 and 3 do; 0 is the best, then 1, 2, …
fn kept(bench: &Bench, trials: &[usize]) {
    let folder = bench.path("state/weights");
    fs::create_dir_all(&folder).unwrap();
    for at in trials {
        let content = format!("weights of {at}");
        fs::write(folder.join(format!("{}.safetensors", bench.trial(*at))), content).unwrap();
    }
}

#[test]
fn weights_are_written_to_a_file_or_to_standard_output() {
    let bench = Bench::new();
    kept(&bench, &[2, 3]);
    let done = bench.read(&["model", "tiny", "-o", "best.safetensors"]).code(0);
    assert_eq!(fs::read_to_string(bench.path("best.safetensors")).unwrap(), "weights of 2");
    let said = String::from_utf8(done.get_output().stderr.clone()).unwrap();
    let trial = bench.trial(2);
    let expected = format!(
        "trial {trial}, attempt 1, val_error 3.50 %, test_error 7.00 %, 12 bytes; 2 trials with a \
         lower val_error have no weights here\n"
    );
    assert_eq!(said, expected);
    let done = bench.read(&["model", "tiny", "--trial", &bench.trial(3)[..6]]).code(0);
    assert_eq!(done.get_output().stdout, b"weights of 3");
    let text = printed(bench.read(&["trial", "tiny", &trial]));
    assert!(text.contains("kept, 12 bytes"), "{text}");
    let value = json(bench.read(&["trial", "tiny", &trial, "--format", "json"]));
    assert_eq!((&value["weights_bytes"], &value["weights_note"]), (&12.into(), &().into()));
}

#[test]
fn an_error_says_why_there_are_none_and_leaves_the_file_as_it_was() {
    let bench = Bench::new();
    let file = bench.path("best.safetensors");
    fs::write(&file, "of before").unwrap();
    let to_file = |trial: &str| {
        let arguments = ["model", "tiny", "-o", "best.safetensors", "--trial", trial];
        refused(bench.read(&arguments), 2)
    };
    let text = refused(bench.read(&["model", "tiny", "--best", "-o", "best.safetensors"]), 2);
    assert!(
        text.starts_with("error: no weights of sweep `tiny`: none of its 5 completed"),
        "{text}"
    );
    kept(&bench, &[0]);
    let text = to_file(&bench.trial(1));
    let expected = "keeps those of the best trial of each config, here ";
    assert!(text.contains(&format!("{expected}{}", bench.trial(0))), "{text}");
    assert!(to_file(&bench.trial(2)).contains("they are on their way, or"), "{text}");
    assert!(to_file(&bench.trial(5)).contains("the trial is diverged, and completed"));
    assert!(to_file(&bench.trial(7)).contains("the trial is pending, and completed"));
    assert!(to_file("0123456789abcdef").contains("no trial `0123456789abcdef`"));
    assert!(refused(bench.read(&["model", "tyni"]), 2).contains("unknown sweep `tyni`"));
    let both = ["model", "tiny", "--best", "--trial", "0123"];
    assert!(refused(bench.read(&both), 2).contains("cannot be used with"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "of before");
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 3, "and no half one");
}
