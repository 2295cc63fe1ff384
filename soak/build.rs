//! What the evidence of a run says of the tool that made it: the revision that it was built of.

#[path = "../tools/revision.rs"]
mod revision;

fn main() {
    revision::tell(&[
        "soak/Cargo.toml",
        "soak/assets",
        "soak/build.rs",
        "soak/src",
    ]);
}
