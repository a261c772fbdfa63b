import com.sun.net.httpserver.HttpServer;
import java.io.DataInputStream;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.StandardSocketOptions;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Random;
import java.util.concurrent.Executors;

/** HttpServer and HttpClient, channels with selectors, and sockets with streams: servers that send back what they get, clients that check it. */
class Echo {
    static final int SMALL = 3000, LARGE = 20, LONGEST = 400_000, LARGEST = 8 << 20, AGAIN = 500;

    interface Exchange {
        byte[] with(byte[] body) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        String host = arguments[1];
        int port = Integer.parseInt(arguments[2]);
        switch (arguments[0]) {
            case "http-server" -> serveHttp(host, port);
            case "socket-server" -> serveSockets(host, port);
            case "channel-server" -> serveChannels(host, port);
            case "channel-client" -> {
                Selector selector = Selector.open();
                SocketChannel channel = SocketChannel.open(new InetSocketAddress(host, port));
                channel.configureBlocking(false);
                channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
                SelectionKey key = channel.register(selector, 0);
                check(SMALL, AGAIN, body -> exchange(selector, key, body));
            }
            case "http-client" -> {
                HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
                URI uri = URI.create("http://" + host + ":" + port + "/");
                // Few: its server answers 40 ms late, whenever it waits for an acknowledgement.
                check(40, 20, body -> client.send(
                        HttpRequest.newBuilder(uri).POST(HttpRequest.BodyPublishers.ofByteArray(body)).build(),
                        HttpResponse.BodyHandlers.ofByteArray()).body());
            }
            case "socket-client" -> {
                try (Socket socket = new Socket(host, port)) {
                    DataInputStream in = new DataInputStream(socket.getInputStream());
                    check(SMALL, AGAIN, body -> {
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

    static void serveChannels(String host, int port) throws Exception {
        Selector selector = Selector.open();
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.bind(new InetSocketAddress(host, port));
        listener.configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        while (true) {
            selector.select();
            for (SelectionKey key : selector.selectedKeys()) {
                if (key.isAcceptable()) {
                    SocketChannel channel = listener.accept();
                    channel.configureBlocking(false);
                    channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
                    channel.register(selector, SelectionKey.OP_READ, ByteBuffer.allocateDirect(64 << 10));
                } else {
                    sendBack(key);
                }
            }
            selector.selectedKeys().clear();
        }
    }

    /** Sends what was kept, or else what arrives. */
    static void sendBack(SelectionKey key) throws Exception {
        SocketChannel channel = (SocketChannel) key.channel();
        ByteBuffer buffer = (ByteBuffer) key.attachment();
        if (key.interestOps() == SelectionKey.OP_READ) {
            buffer.clear();
            if (channel.read(buffer) < 0) {
                channel.close();
                return;
            }
            buffer.flip();
        }
        channel.write(buffer);
        key.interestOps(buffer.hasRemaining() ? SelectionKey.OP_WRITE : SelectionKey.OP_READ);
    }

    /** Sends a body and receives as many bytes, by a channel that does not block. */
    static byte[] exchange(Selector selector, SelectionKey key, byte[] body) throws Exception {
        SocketChannel channel = (SocketChannel) key.channel();
        ByteBuffer request = ByteBuffer.wrap(body);
        ByteBuffer answer = ByteBuffer.allocate(body.length);
        while (answer.hasRemaining()) {
            channel.write(request);
            int write = request.hasRemaining() ? SelectionKey.OP_WRITE : 0;
            key.interestOps(SelectionKey.OP_READ | write);
            selector.select();
            selector.selectedKeys().clear();
            if (channel.read(answer) < 0) {
                throw new AssertionError("the stream ended");
            }
        }
        return answer.array();
    }

    /** Of a body: many are small, from request 0 on some are large, and then small again. */
    static int length(int request, Random dice) {
        return request == LARGE ? LARGEST : 1 + dice.nextInt(request >= 0 && request < LARGE ? LONGEST : 1000);
    }

    static void check(int small, int again, Exchange exchange) throws Exception {
        Random dice = new Random(1);
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        for (int request = 0; request <= small + LARGE + again; request++) {
            byte[] body = new byte[length(request - small, dice)];
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
