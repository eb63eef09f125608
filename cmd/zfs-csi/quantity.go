package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// quantity is a flag: a number of bytes in the notation of Kubernetes, such as 20Gi.
type quantity int64

func (q *quantity) String() string {
	for _, unit := range []string{"Pi", "Ti", "Gi", "Mi", "Ki"} {
		if n := units[unit]; *q != 0 && int64(*q)%n == 0 {
			return strconv.FormatInt(int64(*q)/n, 10) + unit
		}
	}
	return strconv.FormatInt(int64(*q), 10)
}

func (q *quantity) Set(value string) error {
	number := strings.TrimRight(value, "KMGTPki")
	factor, known := units[value[len(number):]]
	n, err := strconv.ParseInt(number, 10, 64)
	if !known || err != nil || n <= 0 || n > math.MaxInt64/factor {
		return fmt.Errorf("not a number of bytes such as 20Gi (units: Ki, Mi, Gi, Ti, Pi; k, M, G, T, P)")
	}
	*q = quantity(n * factor)
	return nil
}

// units are the suffixes of quantities in Kubernetes.
var units = map[string]int64{
	"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50,
	"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
}
