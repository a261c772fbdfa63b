//! stub
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads { Receives = 1, MaySplice = 2, Splices = 3 }
#[derive(Debug)]
pub struct Finding { pub reads: Reads, pub because: String }
#[derive(Default)]
pub struct Examiner {}
impl Examiner { pub fn examine(&mut self, _pid: u32) -> Result<Finding, std::io::Error> { Ok(Finding { reads: Reads::Receives, because: "stub".into() }) } }
