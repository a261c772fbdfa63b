// HTTP by net/http: a server that answers each request with its own body, and a client that checks the answers.
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net/http"
	"os"
	"sync"
)

const (
	clients  = 4
	requests = 30
	longest  = 400_000
	largest  = 8 << 20
)

func main() {
	switch os.Args[1] {
	case "server":
		http.HandleFunc("/", func(answer http.ResponseWriter, request *http.Request) {
			body, err := io.ReadAll(request.Body)
			if err != nil {
				log.Print(err)
				return
			}
			answer.Write(body)
		})
		log.Fatal(http.ListenAndServe(os.Args[2], nil))
	case "client":
		var all sync.WaitGroup
		sums := make([][]byte, clients)
		for client := range sums {
			all.Add(1)
			go func(client int) {
				defer all.Done()
				sums[client] = talk(int64(client), "http://"+os.Args[2]+"/")
			}(client)
		}
		all.Wait()
		fmt.Printf("%x\n", bytes.Join(sums, nil))
	}
}

func talk(seed int64, url string) []byte {
	dice := rand.New(rand.NewSource(seed))
	sum := sha256.New()
	for request := 0; request <= requests; request++ {
		length := 1 + dice.Intn(longest)
		if request == requests {
			length = largest
		}
		body := make([]byte, length)
		dice.Read(body)
		answer, err := http.Post(url, "application/octet-stream", bytes.NewReader(body))
		if err != nil {
			log.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		if err != nil {
			log.Fatal(err)
		}
		answer.Body.Close()
		if !bytes.Equal(got, body) {
			log.Fatalf("request %d of %d bytes was answered with other %d bytes", request, length, len(got))
		}
		sum.Write(got)
	}
	return sum.Sum(nil)
}
