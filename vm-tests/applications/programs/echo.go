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
	clients = 4
	small   = 6000
	large   = 20
	longest = 400_000
	largest = 8 << 20
	again   = 500
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
	// A connection of its own.
	client := http.Client{Transport: &http.Transport{}}
	for request, length := range lengths(dice) {
		body := make([]byte, length)
		dice.Read(body)
		answer, err := client.Post(url, "application/octet-stream", bytes.NewReader(body))
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

// Of the bodies: many small ones, some large ones, and small ones again.
func lengths(dice *rand.Rand) (all []int) {
	for i := 0; i < small; i++ {
		all = append(all, 1+dice.Intn(1000))
	}
	for i := 0; i < large; i++ {
		all = append(all, 1+dice.Intn(longest))
	}
	all = append(all, largest)
	for i := 0; i < again; i++ {
		all = append(all, 1+dice.Intn(1000))
	}
	return all
}
