//! nginx: edge-triggered epoll, and FIONREAD after each buffer that it has filled.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use crate::clients::{load, wrk};
use testkit::isolation::isolated;
use testkit::pattern::Pattern;
use testkit::program::{command, find, source};
use testkit::stage::{Host, SERVER, Stage, same_over_both};

const LARGE: usize = 24 << 20;

/// Files both ways, through a second nginx hop with connections that are kept.
const CONFIGURATION: &str = "
user root;
daemon off;
worker_processes 2;
pid DIR/nginx.pid;
error_log stderr warn;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path DIR/body;
    proxy_temp_path DIR/proxied;
    client_max_body_size 0;
    large_client_header_buffers 4 64k;
    proxy_buffer_size 64k;
    proxy_buffers 8 64k;
    keepalive_requests 1000000;
    upstream files { server 127.0.0.1:8080; keepalive 16; }
    server {
        listen 127.0.0.1:8080;
        listen 10.77.0.2:8080;
        root DIR/files;
        sendfile on;
        location / { dav_methods PUT; create_full_put_path on; }
        location /header { add_header X-Large $http_x_large; return 200 $http_x_large; }
    }
    server {
        listen 10.77.0.2:8081;
        listen 10.77.0.2:8082 deferred;
        location / {
            proxy_pass http://files;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
        }
        location /unbuffered/ {
            proxy_pass http://files/;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            proxy_buffering off;
            proxy_request_buffering off;
        }
    }
}
";

/// nginx, also under a name that says nothing.
fn serve(stage: &Stage, name: &str) -> testkit::program::Running {
    fs::create_dir(stage.file("files")).expect("make a directory");
    fs::write(stage.file("files/small"), pattern(1000)).expect("write a file");
    fs::write(stage.file("files/large"), pattern(LARGE)).expect("write a file");
    let directory = stage.directory().to_str().expect("a path in UTF-8");
    let configuration = stage.write("nginx.conf", CONFIGURATION.replace("DIR", directory));
    let program = stage.file(name);
    fs::copy(find("nginx"), &program).expect("copy nginx");
    let mut nginx = Command::new(program);
    nginx.arg("-p").arg(stage.directory()).arg("-c").arg(configuration);
    stage.serve(Host::Server, nginx, 8080)
}

fn pattern(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Pattern { seed: length as u64 }.fill(0, &mut bytes);
    bytes
}

fn curl<S: AsRef<OsStr>>(stage: &Stage, arguments: impl IntoIterator<Item = S>) -> String {
    let mut curl = command("curl", ["-sS", "--fail", "--max-time", "30"]);
    curl.args(arguments);
    stage.run(Host::Client, curl)
}

/// Itself; through another hop; with that hop passing on bytes as they come; and behind a listener
/// that waits for the request.
const WAYS: &[&str] = &["8080", "8081", "8081/unbuffered", "8082"];

#[test]
fn nginx_passes_large_bodies_and_headers_on_whole_both_ways() {
    isolated(|| {
        // A curl for each: most are over before it is known how it reads.
        same_over_both(|stage| {
            let _nginx = serve(stage, "nginx");
            for way in WAYS {
                let url = |file: &str| format!("http://{SERVER}:{way}/{file}");
                let (arrived, put) = (stage.file("arrived"), stage.file("files/put"));
                curl(stage, ["-o".as_ref(), arrived.as_os_str(), url("large").as_ref()]);
                assert!(
                    fs::read(&arrived).expect("read what came") == pattern(LARGE),
                    "GET by {way}"
                );
                curl(
                    stage,
                    ["-T".as_ref(), stage.file("files/large").as_os_str(), url("put").as_ref()],
                );
                assert!(
                    fs::read(&put).expect("read what was put") == pattern(LARGE),
                    "PUT by {way}"
                );
                fs::remove_file(&put).expect("remove what was put");

                let header = "x".repeat(40_000);
                let small =
                    curl(stage, ["-i", "-H", &format!("X-Large: {header}"), &url("header")]);
                assert_eq!(small.matches(&header).count(), 2, "headers by {way}");
            }
        });
    });
}

#[test]
fn nginx_keeps_up_with_many_small_requests_over_kept_connections() {
    isolated(|| {
        let toll = same_over_both(|stage| {
            let _nginx = serve(stage, "nginx");
            for way in WAYS {
                load(stage, &format!("http://{SERVER}:{way}/small"));
            }
        });
        toll.assert_direct(20_000, 0.95);
    });
}

/// Itself, and as a proxy that has the whole body before it passes it on, and as one that has not.
#[test]
fn nginx_takes_uploads_of_a_mebibyte_over_kept_connections_whatever_it_is_called() {
    isolated(|| {
        let toll = same_over_both(|stage| {
            let _nginx = serve(stage, "edge");
            let script = source("upload.lua");
            let script = script.to_str().expect("a path in UTF-8");
            for way in WAYS {
                let url = format!("http://{SERVER}:{way}/put");
                wrk(stage, ["-d1s", "-c4", "-t1", "-s", script, &url]);
                let put = fs::read(stage.file("files/put")).expect("read what was put");
                assert!(put == b"0123456789abcdef".repeat(1 << 16), "PUT by {way}");
            }
        });
        toll.assert_direct(1000, 0.5);
    });
}
