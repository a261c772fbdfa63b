//! nginx: edge-triggered epoll, and FIONREAD after each buffer that it has filled.

use std::fs;

use crate::harness::isolation::isolated;
use crate::program::command;
use crate::stage::{Host, Stage, same_over_both};

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
            proxy_buffer_size 64k;
            proxy_buffers 8 64k;
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

fn serve(stage: &Stage) -> crate::program::Running {
    fs::create_dir(stage.file("files")).expect("make a directory");
    fs::write(stage.file("files/small"), pattern(1000)).expect("write a file");
    fs::write(stage.file("files/large"), pattern(24 << 20)).expect("write a file");
    let directory = stage.directory().to_str().expect("a path in UTF-8");
    let configuration = stage.write("nginx.conf", CONFIGURATION.replace("DIR", directory));
    let nginx = command("nginx", ["-p".as_ref(), stage.directory(), "-c".as_ref(), configuration.as_path()]);
    stage.serve(Host::Server, nginx, 8080)
}

fn pattern(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    crate::harness::pattern::Pattern { seed: length as u64 }.fill(0, &mut bytes);
    bytes
}

#[test]
fn files_come_and_go_whole_through_nginx_and_its_upstream() {
    isolated(|| {
        let toll = same_over_both(|stage| {
            let _nginx = serve(stage);
            for prefix in ["8080/", "8081/", "8081/unbuffered/", "8082/"] {
                let arrived = stage.file("arrived");
                let url = |file: &str| format!("http://10.77.0.2:{prefix}{file}");
                let curl = |arguments: &[&str]| {
                    let common = ["-sS", "--fail", "--max-time", "30"];
                    stage.run(Host::Client, command("curl", common.iter().chain(arguments)))
                };
                let arrived_text = arrived.to_str().expect("UTF-8");
                for _ in 0..2 {
                    eprintln!("get {prefix}");
                    curl(&["-o", arrived_text, &url("large")]);
                    assert!(fs::read(&arrived).expect("read") == pattern(24 << 20), "{prefix} GET");
                    eprintln!("put {prefix}");
                    let _ = fs::remove_file(stage.file("files/put"));
                    curl(&["-T", stage.file("files/large").to_str().expect("UTF-8"), &url("put")]);
                    assert!(fs::read(stage.file("files/put")).expect("read") == pattern(24 << 20), "{prefix} PUT");
                }
            }
        });
        toll.assert_direct_unless_excluded(0.5);
    });
}
