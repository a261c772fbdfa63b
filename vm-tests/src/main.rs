fn main() {
    if std::env::args_os().next().is_some_and(|name| name == "/init") {
        vm_tests::guest::main();
    }
    let args: Vec<String> = std::env::args().collect();
    let kernel = std::path::Path::new(&args[1]);
    let job = vm_tests::protocol::Job { modules: vec![], tasks: serde_json::from_str(&args[2]).unwrap() };
    let path = std::path::Path::new(&args[3]);
    let mut image = vm_tests::initramfs::Initramfs::new(std::io::BufWriter::new(std::fs::File::create(path).unwrap()));
    image.copy(&std::env::current_exe().unwrap(), std::path::Path::new("/init")).unwrap();
    for f in &args[4..] { image.copy(f.as_ref(), f.as_ref()).unwrap(); }
    image.add("/job.json".as_ref(), &serde_json::to_vec(&job).unwrap()).unwrap();
    use std::io::Write;
    image.finish().unwrap().flush().unwrap();
    let hw = vm_tests::qemu::Hardware { accelerator: vm_tests::qemu::Accelerator::Emulation, memory_mib: 2048, processors: 2 };
    let t = std::time::Instant::now();
    let mut m = vm_tests::qemu::Machine::boot(hw, kernel, path, &path.with_extension("console"), &path.with_extension("err")).unwrap();
    loop { match m.next_event(std::time::Duration::from_secs(120)) { Ok(e) => println!("{:?} {e:?}", t.elapsed()), Err(e) => { println!("{:?} {e}", t.elapsed()); break } } }
}
