// Package api is the HTTP API of `netfate serve`: questions to the history, the
// status, and what happens as it happens. It serves whatever store and page it is
// given, guards who may ask, and knows no sensor.
//
// Its description, OpenAPI 3.1, derives from the types here; docs/api.md says how
// it is used.
package api
