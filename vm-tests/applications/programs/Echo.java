import com.sun.net.httpserver.HttpServer;
import java.io.DataInputStream;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Random;
import java.util.concurrent.Executors;

/** HttpServer and HttpClient, and sockets with streams: servers that send back what they get, clients that check it. */
class Echo {
    static final int REQUESTS = 60, LONGEST = 400_000, LARGEST = 8 << 20;

    interface Exchange {
        byte[] with(byte[] body) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        String host = arguments[1];
        int port = Integer.parseInt(arguments[2]);
        switch (arguments[0]) {
            case "http-server" -> serveHttp(host, port);
            case "socket-server" -> serveSockets(host, port);
            case "http-client" -> {
                HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
                URI uri = URI.create("http://" + host + ":" + port + "/");
                check(body -> client.send(
                        HttpRequest.newBuilder(uri).POST(HttpRequest.BodyPublishers.ofByteArray(body)).build(),
                        HttpResponse.BodyHandlers.ofByteArray()).body());
            }
            case "socket-client" -> {
                try (Socket socket = new Socket(host, port)) {
                    DataInputStream in = new DataInputStream(socket.getInputStream());
                    check(body -> {
                        Thread sender = new Thread(() -> send(socket, body));
                        sender.start();
                        byte[] answer = new byte[body.length];
                        // What is there already is asked for as well as what is to come.
                        int at = 0;
                        while (at < answer.length) {
                            int wanted = Math.max(1, Math.min(in.available(), answer.length - at));
                            in.readFully(answer, at, wanted);
                            at += wanted;
                        }
                        sender.join();
                        return answer;
                    });
                }
            }
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    static void send(Socket socket, byte[] body) {
        try {
            socket.getOutputStream().write(body);
        } catch (java.io.IOException failure) {
            throw new java.io.UncheckedIOException(failure);
        }
    }

    static void serveHttp(String host, int port) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(host, port), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            byte[] body = exchange.getRequestBody().readAllBytes();
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }

    static void serveSockets(String host, int port) throws Exception {
        ServerSocket listener = new ServerSocket();
        listener.bind(new InetSocketAddress(host, port));
        while (true) {
            Socket socket = listener.accept();
            new Thread(() -> {
                try (socket) {
                    socket.getInputStream().transferTo(socket.getOutputStream());
                } catch (java.io.IOException gone) {
                    System.err.println(gone);
                }
            }).start();
        }
    }

    static void check(Exchange exchange) throws Exception {
        Random dice = new Random(1);
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        for (int request = 0; request <= REQUESTS; request++) {
            byte[] body = new byte[request == REQUESTS ? LARGEST : 1 + dice.nextInt(LONGEST)];
            dice.nextBytes(body);
            byte[] answer = exchange.with(body);
            if (!Arrays.equals(answer, body)) {
                throw new AssertionError("request " + request + " was answered with other bytes");
            }
            digest.update(answer);
        }
        System.out.println(HexFormat.of().formatHex(digest.digest()));
        System.exit(0);
    }
}
