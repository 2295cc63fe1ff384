//! What the evidence of a run says of the tool that made it: the revision that it was built of.

mod revision;

fn main() {
    revision::tell(&[]);
}
