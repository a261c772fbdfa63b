//! Apache, with threads that wait for many connections.

use std::fs;

use crate::clients::load;
use testkit::isolation::isolated;
use testkit::pattern::Pattern;
use testkit::program::command;
use testkit::stage::{Host, SERVER, same_over_both};

const CONFIGURATION: &str = "
ServerRoot DIR
ServerName shunt
PidFile DIR/apache.pid
ErrorLog DIR/errors
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
User daemon
StartServers 2
MaxKeepAliveRequests 0
Listen 10.77.0.2:8000
DocumentRoot DIR/files
";

#[test]
fn apache_answers_many_requests_over_kept_connections_and_sends_files_whole() {
    isolated(|| {
        let toll = same_over_both(|stage| {
            let mut large = vec![0; 24 << 20];
            Pattern { seed: 1 }.fill(0, &mut large);
            fs::create_dir(stage.file("files")).expect("make a directory");
            fs::write(stage.file("files/small"), &large[..1000]).expect("write a file");
            fs::write(stage.file("files/large"), &large).expect("write a file");
            let directory = stage.directory().to_str().expect("a path in UTF-8");
            let text = CONFIGURATION.replace("DIR", directory);
            let configuration = stage.write("apache.conf", text);
            let mut apache = command("apache2", ["-DFOREGROUND", "-f"]);
            apache.arg(configuration);
            let _apache = stage.serve(Host::Server, apache, 8000);
            load(stage, &format!("http://{SERVER}:8000/small"));
            let arrived = stage.file("arrived");
            let mut curl = command("curl", ["-sS", "--fail", "--max-time", "30", "-o"]);
            curl.arg(&arrived).arg(format!("http://{SERVER}:8000/large"));
            stage.run(Host::Client, curl);
            assert!(fs::read(&arrived).expect("read what came") == large, "another file");
        });
        toll.assert_direct(5000, 0.9);
    });
}
