// x * w, both signed, in one cycle with `enable`. With LOGIC, w of few bits needs no multiplier.
module sn_times #(
    parameter XB = 9,
    parameter WB = 4,
    parameter LOGIC = 0
) (
    input wire clk,
    input wire enable,
    input wire signed [XB-1:0] x,
    input wire signed [WB-1:0] w,
    output reg signed [XB+WB-1:0] product
);
    generate
        if (LOGIC != 0) begin : logic_only
            wire [XB+WB-1:0] wide = {{WB{x[XB-1]}}, x};
            reg [XB+WB-1:0] sum;
            integer b;
            always @(*) begin
                sum = w[WB-1] ? 0 - (wide << (WB - 1)) : 0;
                for (b = 0; b < WB - 1; b = b + 1) sum = sum + (w[b] ? wide << b : 0);
            end
            always @(posedge clk) if (enable) product <= sum;
        end else begin : multiplier
            always @(posedge clk) if (enable) product <= x * w;
        end
    endgenerate
endmodule
