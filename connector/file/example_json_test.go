package file_test

import (
	"fmt"

	"github.com/conduitio/conduit-commons/opencdc"

	"github.com/conduitio/funnel/connector/file"
)

// JSON from elsewhere becomes data without a lost digit, and JSON again.
func ExampleJSONDecoder() {
	data, err := file.NewJSONDecoder().Data([]byte(`{"id": 9007199254740993, "amount": 12.50}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%T %v\n", data["id"], data["id"])

	var encoder file.JSONEncoder
	text, err := encoder.AppendData(nil, data)
	fmt.Println(string(text), err)

	_, err = encoder.AppendData(nil, opencdc.StructuredData{"ratio": []any{1.5, func() {}}})
	fmt.Println(err)
	// Output:
	// int64 9007199254740993
	// {"amount":12.5,"id":9007199254740993} <nil>
	// the value at .ratio[1]: the func() has no JSON: json: unsupported type: func()
}
