// A transcript of a broker as seen by amqp091-go, a Go client,: the same for every broker.
//
// Usage: amqp091_go_smoke AMQP_URL
//
// The broker must be fresh: the names of queues are fixed. When the program is ready for a restart
// of the broker, it waits for a line of standard input: an empty line means that there was none.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

var url = os.Args[1]

func say(what string, values ...any) {
	fmt.Printf("%s:", what)
	for _, value := range values {
		fmt.Printf(" %#v", value)
	}
	fmt.Println()
}

// Prints the error that a call ended with.
func refused(what string, err error) {
	var reason *amqp.Error
	if errors.As(err, &reason) {
		say(what, reason.Code, reason.Reason, reason.Server)
	} else {
		say(what, fmt.Sprint(err))
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func connect() *amqp.Connection {
	return must(amqp.Dial(url))
}

func open(connection *amqp.Connection) *amqp.Channel {
	return must(connection.Channel())
}

func declare(channel *amqp.Channel, name string, arguments amqp.Table) amqp.Queue {
	return must(channel.QueueDeclare(name, true, false, false, false, arguments))
}

func publish(channel *amqp.Channel, queue string, message amqp.Publishing) {
	check(channel.Publish("", queue, false, false, message))
}

func get(channel *amqp.Channel, queue string) amqp.Delivery {
	message, _, err := channel.Get(queue, true)
	check(err)
	return message
}

// Prints a table in the order of its keys, without times, which differ between runs.
func sayTable(what string, table amqp.Table) {
	keys := []string{}
	for key := range table {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		switch value := table[key].(type) {
		case time.Time:
			say(what+", "+key, "a time")
		case []any:
			for _, entry := range value {
				if death, isTable := entry.(amqp.Table); isTable {
					sayTable(what+", "+key, death)
				} else {
					say(what+", "+key, entry)
				}
			}
		default:
			say(what+", "+key, value)
		}
	}
}

func logins() {
	_, err := amqp.Dial(strings.Replace(url, "guest:guest", "guest:wrong", 1))
	refused("wrong password", err)
	_, err = amqp.Dial(url[:strings.LastIndex(url, "/")] + "/nowhere")
	refused("unknown virtual host", err)
}

func confirmsAndReturns(channel *amqp.Channel) {
	declare(channel, "interop.go.full", amqp.Table{"x-max-length": 1, "x-overflow": "reject-publish"})
	check(channel.Confirm(false))
	confirms := channel.NotifyPublish(make(chan amqp.Confirmation, 1))
	returns := channel.NotifyReturn(make(chan amqp.Return, 1))
	publish(channel, "interop.go.full", amqp.Publishing{Body: []byte("1")})
	say("confirmed", <-confirms)
	publish(channel, "interop.go.full", amqp.Publishing{Body: []byte("2")})
	say("full", <-confirms)
	lost := amqp.Publishing{Type: "t", Body: []byte("lost")}
	check(channel.Publish("", "interop.go.nowhere", true, false, lost))
	returned := <-returns
	say("returned", returned.ReplyCode, returned.ReplyText, returned.Exchange, returned.RoutingKey)
	say("returned, content", returned.Type, string(returned.Body))
	say("returned, confirm", <-confirms)
	say("deleted", must(channel.QueueDelete("interop.go.full", false, false, false)))
}

func consuming(connection *amqp.Connection) {
	channel, other := open(connection), open(connection)
	declare(channel, "interop.go.consumed", nil)
	check(channel.Qos(2, 0, false))
	for number := range 3 {
		publish(channel, "interop.go.consumed", amqp.Publishing{Body: []byte{'0' + byte(number)}})
	}
	consume := func() <-chan amqp.Delivery {
		return must(channel.Consume("interop.go.consumed", "tag", false, false, false, false, nil))
	}
	deliveries := consume()
	delivered := func() amqp.Delivery {
		message := <-deliveries
		say("delivered", message.ConsumerTag, message.DeliveryTag, message.Redelivered, string(message.Body))
		return message
	}
	first, second := delivered(), delivered()
	check(first.Reject(true))
	check(delivered().Ack(false))
	check(delivered().Ack(false))
	check(second.Nack(false, false))
	check(channel.Cancel("tag", false))
	_, open := <-deliveries
	say("cancelled", !open)
	// A queue that is deleted ends its consumers, and their tag can be used again.
	consume()
	cancels := channel.NotifyCancel(make(chan string, 1))
	must(other.QueueDelete("interop.go.consumed", false, false, false))
	say("cancelled by the broker", <-cancels)
	declare(channel, "interop.go.consumed", nil)
	deliveries = consume()
	publish(channel, "interop.go.consumed", amqp.Publishing{Body: []byte("again")})
	check(delivered().Ack(false))
	check(channel.Close())
	say("deleted", must(other.QueueDelete("interop.go.consumed", false, false, false)))
	check(other.Close())
}

func deadLetters(channel *amqp.Channel) {
	declare(channel, "interop.go.dead", nil)
	declare(channel, "interop.go.source", amqp.Table{
		"x-dead-letter-exchange":    "",
		"x-dead-letter-routing-key": "interop.go.dead",
	})
	letters := must(channel.Consume("interop.go.dead", "", true, false, false, false, nil))
	mine := amqp.Publishing{Headers: amqp.Table{"mine": int32(1)}, Body: []byte("rejected")}
	publish(channel, "interop.go.source", mine)
	message, _, err := channel.Get("interop.go.source", false)
	check(err)
	check(message.Reject(false))
	letter := <-letters
	say("rejected", letter.Exchange, letter.RoutingKey, string(letter.Body))
	sayTable("rejected", letter.Headers)
	publish(channel, "interop.go.source", amqp.Publishing{Expiration: "10", Body: []byte("expired")})
	letter = <-letters
	say("expired", letter.Expiration, string(letter.Body))
	sayTable("expired", letter.Headers)
	must(channel.QueueDelete("interop.go.source", false, false, false))
	must(channel.QueueDelete("interop.go.dead", false, false, false))
}

func requests(channel *amqp.Channel) {
	declare(channel, "interop.go.requests", nil)
	replies := must(channel.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil))
	publish(channel, "interop.go.requests", amqp.Publishing{
		ReplyTo:       "amq.rabbitmq.reply-to",
		CorrelationId: "c",
		Body:          []byte("request"),
	})
	request := get(channel, "interop.go.requests")
	say("request", strings.HasPrefix(request.ReplyTo, "amq.rabbitmq.reply-to."), string(request.Body))
	reply := amqp.Publishing{CorrelationId: request.CorrelationId, Body: []byte("reply")}
	publish(channel, request.ReplyTo, reply)
	answer := <-replies
	say("reply", answer.Exchange, answer.CorrelationId, string(answer.Body))
	must(channel.QueueDelete("interop.go.requests", false, false, false))
}

func content(channel *amqp.Channel) {
	declare(channel, "interop.go.content", nil)
	message := amqp.Publishing{
		Headers: amqp.Table{
			"bool":    true,
			"byte":    byte(200),
			"int8":    int8(-1),
			"int16":   int16(-1000),
			"int32":   int32(-1 << 31),
			"int64":   int64(1 << 40),
			"float32": float32(0.5),
			"float64": 0.1,
			"decimal": amqp.Decimal{Scale: 2, Value: 123},
			"string":  "gr\u00fcn",
			"bytes":   []byte{0xff, 0xfe},
			"nil":     nil,
			"list":    []any{int32(1), "two", []any{int32(3)}},
			"tables":  []any{amqp.Table{"inner": amqp.Table{"innermost": true}}},
		},
		ContentType:     "text/plain",
		ContentEncoding: "utf-8",
		DeliveryMode:    amqp.Persistent,
		Priority:        9,
		CorrelationId:   "c",
		ReplyTo:         "r",
		Expiration:      "60000",
		MessageId:       "m",
		Timestamp:       time.Unix(1, 0),
		Type:            "t",
		UserId:          "guest",
		AppId:           "a",
	}
	publish(channel, "interop.go.content", message)
	back := get(channel, "interop.go.content")
	sayTable("header", back.Headers)
	say("properties", back.ContentType, back.ContentEncoding, back.DeliveryMode, back.Priority,
		back.CorrelationId, back.ReplyTo, back.Expiration, back.MessageId, back.Timestamp.Unix(),
		back.Type, back.UserId, back.AppId)
	when := amqp.Table{"time": time.Unix(1767323045, 0)}
	publish(channel, "interop.go.content", amqp.Publishing{Headers: when})
	say("header, time", get(channel, "interop.go.content").Headers["time"].(time.Time).Unix())
	pattern := make([]byte, 250)
	for index := range pattern {
		pattern[index] = byte(index)
	}
	publish(channel, "interop.go.content", amqp.Publishing{Body: bytes.Repeat(pattern, 40_000)})
	body := get(channel, "interop.go.content").Body
	say("large body", len(body), fmt.Sprintf("%x", sha256.Sum256(body)))
	must(channel.QueueDelete("interop.go.content", false, false, false))
}

func channelErrors(connection *amqp.Connection) {
	owner := connect()
	must(open(owner).QueueDeclare("interop.go.exclusive", false, false, true, false, nil))
	channel := open(connection)
	declare(channel, "interop.go.queue", nil)

	// A call without an answer ends with the error of the channel.
	onAChannel := func(what string, call func(*amqp.Channel) error) {
		channel := open(connection)
		closed := channel.NotifyClose(make(chan *amqp.Error, 1))
		err := call(channel)
		if err == nil {
			err = <-closed
		}
		refused(what, err)
	}
	onAChannel("unknown queue", func(channel *amqp.Channel) error {
		_, err := channel.QueueDeclarePassive("interop.go.missing", true, false, false, false, nil)
		return err
	})
	onAChannel("unknown exchange", func(channel *amqp.Channel) error {
		return channel.Publish("interop.go.missing", "", false, false, amqp.Publishing{})
	})
	onAChannel("other properties", func(channel *amqp.Channel) error {
		_, err := channel.QueueDeclare("interop.go.queue", true, true, false, false, nil)
		return err
	})
	onAChannel("bad argument", func(channel *amqp.Channel) error {
		_, err := channel.QueueDeclare("interop.go.bad", true, false, false, false, amqp.Table{"x-expires": "x"})
		return err
	})
	onAChannel("exclusive", func(channel *amqp.Channel) error {
		_, err := channel.Consume("interop.go.exclusive", "", true, false, false, false, nil)
		return err
	})
	onAChannel("reserved name", func(channel *amqp.Channel) error {
		return channel.ExchangeDeclare("amq.mine", "direct", true, false, false, false, nil)
	})
	onAChannel("default exchange", func(channel *amqp.Channel) error {
		return channel.QueueBind("interop.go.queue", "key", "", false, nil)
	})
	onAChannel("another user", func(channel *amqp.Channel) error {
		return channel.Publish("", "interop.go.queue", false, false, amqp.Publishing{UserId: "nobody"})
	})
	onAChannel("unknown tag", func(channel *amqp.Channel) error {
		return channel.Ack(7, false)
	})
	onAChannel("in use", func(channel *amqp.Channel) error {
		must(channel.Consume("interop.go.queue", "", true, false, false, false, nil))
		_, err := channel.QueueDelete("interop.go.queue", true, false, false)
		return err
	})
	say("open", !connection.IsClosed())
	must(channel.QueueDelete("interop.go.queue", false, false, false))
	check(owner.Close())
}

func connectionErrors() {
	for _, what := range []string{"immediate", "reused tag"} {
		connection := connect()
		closed := connection.NotifyClose(make(chan *amqp.Error, 1))
		channel := open(connection)
		queue := must(channel.QueueDeclare("", false, false, true, false, nil))
		if what == "immediate" {
			check(channel.Publish("", queue.Name, false, true, amqp.Publishing{}))
		} else {
			must(channel.Consume(queue.Name, "tag", true, false, false, false, nil))
			channel.Consume(queue.Name, "tag", true, false, false, false, nil)
		}
		refused(what, <-closed)
	}
}

func restart(connection *amqp.Connection) {
	closed := connection.NotifyClose(make(chan *amqp.Error, 1))
	fmt.Println("ready for a restart")
	if line, _ := bufio.NewReader(os.Stdin).ReadString('\n'); strings.TrimSpace(line) == "" {
		return
	}
	refused("restarted", <-closed)
	connection = connect()
	channel := open(connection)
	declare(channel, "interop.go.restarted", nil)
	publish(channel, "interop.go.restarted", amqp.Publishing{Body: []byte("after")})
	say("after the restart", string(get(channel, "interop.go.restarted").Body))
	must(channel.QueueDelete("interop.go.restarted", false, false, false))
	check(connection.Close())
}

func main() {
	connection := connect()
	version := strings.Split(connection.Properties["version"].(string), ".")
	say("greeting", connection.Properties["product"], strings.Join(version[:2], "."))
	logins()
	confirmsAndReturns(open(connection))
	consuming(connection)
	channel := open(connection)
	deadLetters(channel)
	requests(channel)
	content(channel)
	channelErrors(connection)
	connectionErrors()
	restart(connection)
}
