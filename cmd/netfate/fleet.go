package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/netfate/netfate/internal/config"
	"github.com/netfate/netfate/internal/history"
	"github.com/netfate/netfate/internal/history/clickhouse"
)

// passwordVariable is the environment's variable that has the password of a history
// that many hosts share.
const passwordVariable = "NETFATE_CLICKHOUSE_PASSWORD"

// openFleet opens the history that this host shares with others.
func openFleet(cfg *config.History) (history.Store, error) {
	c := &cfg.ClickHouse
	proof, password, err := credentials("history.clickhouse", c.CA, "", "", "")
	if err != nil {
		return nil, err
	}
	if c.PasswordFile != "" {
		text, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("read history.clickhouse.password_file: %w", err)
		}
		password = strings.TrimRight(string(text), "\r\n")
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("read the host's name: %w", err)
	}
	return clickhouse.Open(clickhouse.Config{
		URL: cfg.Path, Password: cmp.Or(password, os.Getenv(passwordVariable)), TLS: proof, Host: host,
		Spool: c.Spool, MaxSpool: int64(cfg.Size), MaxAge: c.Age, Say: func(line string) { say("%s", line) },
	})
}

// needFile refuses a history that many hosts share where what is asked is DuckDB's SQL.
func needFile(path string) error {
	if clickhouse.IsURL(path) {
		return usagef("--history: this command reads a file; what many hosts share, netfate query and the page of netfate serve show")
	}
	return nil
}

// readFleet opens a history of many hosts to be read.
func readFleet(url string) (history.Store, error) {
	return clickhouse.Open(clickhouse.Config{URL: url, Password: os.Getenv(passwordVariable), ReadOnly: true})
}
