package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// The work for each event of the input: events whose ID is a multiple of filterEvery are
// filtered, events with the status refused go to the dead-letter queue, and the service of
// all others gets a prefix.
const (
	filterEvery   = 5
	refused       = 599
	servicePrefix = "shop-"

	refuseEvery, refuseAt = 1000, 501 // which IDs have the status refused
)

var (
	services = []string{"cart", "checkout", "search", "recommendations", "payment", "inventory"}
	methods  = []string{"GET", "GET", "GET", "POST", "PUT", "DELETE"}
	statuses = []int{200, 200, 200, 201, 204, 301, 304, 400, 404, 500}
	words    = []string{"cache", "miss", "retry", "upstream", "slow", "query", "user", "session", "expired", "ok"}
	begin    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// makeInput writes a file of at least size bytes, and returns how many lines it has. The
// same size makes the same file.
func makeInput(path string, size int64) (lines int, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	for written := int64(0); written < size && err == nil; lines++ {
		line := makeEvent(rng, lines)
		written += int64(len(line))
		_, err = w.Write(line)
	}
	return lines, errors.Join(err, w.Flush(), f.Close())
}

func makeEvent(rng *rand.Rand, id int) []byte {
	status := pick(rng, statuses)
	if id%refuseEvery == refuseAt {
		status = refused
	}
	at := begin.Add(time.Duration(id) * 5 * time.Millisecond).Format(time.RFC3339Nano)
	return fmt.Appendf(nil, `{"id":%d,"time":%q,"service":%q,"host":"web-%d","method":%q,"path":"/api/v1/items/%d",`+
		`"status":%d,"duration_ms":%.3f,"bytes":%d,"user":{"id":"u-%d","country":"%c%c","premium":%t},`+
		`"tags":[%q,%q],"message":"%s %s %s %s"}`+"\n",
		id, at, pick(rng, services), rng.IntN(64), pick(rng, methods), rng.IntN(1e6),
		status, rng.ExpFloat64()*40, rng.IntN(1e5), rng.IntN(1e7), 'A'+rng.IntN(26), 'A'+rng.IntN(26), rng.IntN(4) == 0,
		pick(rng, words), pick(rng, words), pick(rng, words), pick(rng, words), pick(rng, words), pick(rng, words))
}

func pick[T any](rng *rand.Rand, values []T) T { return values[rng.IntN(len(values))] }
