// TCP proxies as they are written in Go. Usage: proxy copy|upgrade LISTEN BACKEND
//
//	copy     io.Copy both ways from the first byte
//	upgrade  a protocol of lines first, by bufio, and io.Copy when one of them says so, as for a WebSocket
package main

import (
	"bufio"
	"io"
	"log"
	"net"
	"os"
	"strings"
)

func main() {
	listener, err := net.Listen("tcp", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go proxy(client.(*net.TCPConn))
	}
}

func proxy(client *net.TCPConn) {
	defer client.Close()
	dialled, err := net.Dial("tcp", os.Args[3])
	if err != nil {
		log.Print(err)
		return
	}
	backend := dialled.(*net.TCPConn)
	defer backend.Close()
	if os.Args[1] == "upgrade" && !lines(client, backend) {
		return
	}
	done := make(chan bool)
	go func() {
		pass(client, backend)
		done <- true
	}()
	pass(backend, client)
	<-done
}

func pass(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		log.Print(err)
	}
	to.CloseWrite()
}

// Passes on lines and their answers until both are "upgrade".
func lines(client, backend *net.TCPConn) bool {
	// Not more than there is in a line, or the rest would be lost.
	requests, answers := bufio.NewReaderSize(client, 16), bufio.NewReaderSize(backend, 16)
	for {
		request, err := requests.ReadString('\n')
		if err != nil {
			return false
		}
		io.WriteString(backend, request)
		answer, err := answers.ReadString('\n')
		if err != nil {
			return false
		}
		io.WriteString(client, answer)
		if strings.HasPrefix(request, "upgrade") {
			return requests.Buffered() == 0 && answers.Buffered() == 0
		}
	}
}
