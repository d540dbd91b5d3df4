// Command otelcol is an OpenTelemetry Collector with the components that the tests and examples/stack configure:
// OTLP in; memory_limiter and batch; OTLP over gRPC and HTTP, and the debug exporter, out.
// tools/install_backends.sh compiles it against Debian's package of the Collector's library.
package main

import (
	"errors"
	"fmt"
	"os"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/debugexporter"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/batchprocessor"
	"go.opentelemetry.io/collector/processor/memorylimiterprocessor"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
)

// components makes the maps by which a configuration's names are found, former names of components included.
func components() (all otelcol.Factories, err error) {
	all.Telemetry = otelconftelemetry.NewFactory()
	var wrong [3]error
	all.Receivers, wrong[0] = otelcol.MakeFactoryMap[receiver.Factory](otlpreceiver.NewFactory())
	all.Processors, wrong[1] = otelcol.MakeFactoryMap[processor.Factory](
		memorylimiterprocessor.NewFactory(), batchprocessor.NewFactory())
	all.Exporters, wrong[2] = otelcol.MakeFactoryMap[exporter.Factory](
		otlpexporter.NewFactory(), otlphttpexporter.NewFactory(), debugexporter.NewFactory())
	return all, errors.Join(wrong[:]...)
}

func main() {
	var settings otelcol.CollectorSettings
	settings.BuildInfo = component.BuildInfo{
		Command: "otelcol", Description: "OpenTelemetry Collector for glasspool's tests", Version: "0"}
	settings.Factories = components
	// The resolver takes "env" for the scheme of ${NAME}, and does not start without it.
	settings.ConfigProviderSettings.ResolverSettings.ProviderFactories = []confmap.ProviderFactory{
		fileprovider.NewFactory(), envprovider.NewFactory()}
	if err := otelcol.NewCommand(settings).Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
