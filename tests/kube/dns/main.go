// Command dns is CoreDNS with the few plugins that a cluster without a way out
// can use. With the arguments "lookup SERVER NAME" it asks a name server
// instead, so that nothing else is needed to see whether DNS answers.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
)

func init() {
	// Order matters: a request passes through the plugins in this one.
	dnsserver.Directives = []string{"bind", "ready", "errors", "log", "kubernetes"}
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "lookup" {
		lookup(os.Args[2], os.Args[3])
		return
	}
	coremain.Run()
}

func lookup(server, name string) {
	resolver := net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, network, net.JoinHostPort(server, "53"))
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	addresses, err := resolver.LookupHost(ctx, name)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lookup:", err)
		os.Exit(1)
	}
	for _, address := range addresses {
		fmt.Println(address)
	}
}
